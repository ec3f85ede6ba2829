//! Messages between instances through a real Redis.

mod foreign_messages;
mod outages;
mod redis_setups;
mod refusals;
mod requests;
mod tls;

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    sync::mpsc,
    time::{Instant, interval, timeout},
};
use uuid::Uuid;
use vehicle_gateway::{
    domain::{
        Action, Command, CommandOrigin, CommandOutcome, CommandState, DeviceId, DisconnectReason,
        IncarnationId, Timestamp,
    },
    fanout::{
        EndedSessions, Fanout, FanoutEvent, FanoutOptions, FanoutState, Notice, PeerAnswer,
        PeerRequest, RemoteCommand, ReplyAddress, RequestError,
    },
};

use crate::support::{PATIENCE, Redis};

const CHANNEL: &str = "VehicleServers";

/// An instance as the fan-out sees it.
struct Instance {
    id: IncarnationId,
    fanout: Fanout,
    incoming: mpsc::Receiver<FanoutEvent>,
}

impl Instance {
    /// An instance that is connecting.
    async fn new(url: &str, channel: &str) -> Self {
        let options = FanoutOptions {
            url: url.to_owned(),
            shown: "redis://shown".to_owned(),
            channel: channel.to_owned(),
        };
        let (fanout, incoming) = Fanout::connect(options).unwrap();
        let id = IncarnationId::random();
        fanout.listen_as(id).await;
        Self {
            id,
            fanout,
            incoming,
        }
    }

    /// An instance that is connected and was told that it may have missed messages.
    async fn connected(redis: &Redis) -> Self {
        Self::connected_on(redis, CHANNEL).await
    }

    async fn connected_on(redis: &Redis, channel: &str) -> Self {
        let mut instance = Self::new(&redis.url(), channel).await;
        instance.wait_for_state(FanoutState::Up).await;
        assert_eq!(instance.next().await, FanoutEvent::MayHaveMissed);
        instance
    }

    async fn wait_for_state(&self, state: FanoutState) {
        let mut ticks = interval(Duration::from_millis(10));
        let asked = timeout(PATIENCE, async {
            while self.fanout.state() != state {
                ticks.tick().await;
            }
        });
        asked.await.unwrap_or_else(|_| panic!("never {state:?}"));
    }

    /// The next incoming message.
    async fn next(&mut self) -> FanoutEvent {
        let incoming = timeout(PATIENCE, self.incoming.recv()).await;
        incoming.expect("nothing arrived").unwrap()
    }

    async fn next_request(&mut self) -> (ReplyAddress, PeerRequest) {
        match self.next().await {
            FanoutEvent::Request(asked, request) => (asked, request),
            other => panic!("no request: {other:?}"),
        }
    }

    async fn ask(&self, to: IncarnationId, time: Duration) -> Result<PeerAnswer, RequestError> {
        let deadline = Instant::now() + time;
        self.fanout.request(to, &command(), deadline).await
    }
}

fn device() -> DeviceId {
    DeviceId::parse("truck-19").unwrap()
}

fn command() -> PeerRequest {
    PeerRequest::Command(RemoteCommand {
        id: Uuid::now_v7(),
        device_id: device(),
        action: Action::Run,
        timeout: Duration::from_millis(9_500),
        expires_at: Timestamp::from_millis(1_795_402_499_050),
        queue: Some(Duration::from_mins(1)),
        key: Some("a key".to_owned()),
        vehicle_since: Some(Timestamp::from_millis(1)),
    })
}

fn done_answer() -> PeerAnswer {
    PeerAnswer::Command(CommandOutcome::Recorded {
        command: Command {
            id: Uuid::now_v7(),
            device_id: device(),
            action: Action::Run,
            origin: CommandOrigin::Api,
            state: CommandState::Done,
            created_at: Timestamp::from_millis(1),
            expires_at: Timestamp::from_millis(2),
            sent_at: Some(Timestamp::from_millis(3)),
            finished_at: Some(Timestamp::from_millis(4)),
            reply: Some("DONE!".to_owned()),
            late_reply: None,
        },
    })
}

fn session_over(through_epoch: i64) -> Notice {
    Notice::SessionsEnded(vec![EndedSessions {
        device_id: device(),
        through_epoch,
        reason: DisconnectReason::Superseded,
    }])
}

fn incoming_session_over(through_epoch: i64) -> FanoutEvent {
    FanoutEvent::Notice(session_over(through_epoch))
}

fn channel_of(instance: IncarnationId) -> String {
    format!("{CHANNEL}:instance:{instance}")
}

/// An answer with the id of the requested command.
fn answer_to(request: &PeerRequest) -> PeerAnswer {
    let (PeerAnswer::Command(CommandOutcome::Recorded { command }), PeerRequest::Command(asked)) =
        (done_answer(), request)
    else {
        panic!("no command")
    };
    PeerAnswer::Command(CommandOutcome::Recorded {
        command: Command {
            id: asked.id,
            ..command
        },
    })
}

/// The log at `info` and above, also of the Redis client. For tests that run on one thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn follow(&self) -> tracing::subscriber::DefaultGuard {
        let log = self.clone();
        let lines = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_writer(move || log.clone());
        tracing::subscriber::set_default(lines.finish())
    }

    fn lines(&self, with: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(with));
        lines.map(str::to_owned).collect()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
