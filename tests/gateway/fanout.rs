//! Messages between instances through a real Redis.

use std::{
    collections::BTreeSet,
    io::{self, Read, Write},
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use serde_json::{Value, json};
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, interval, timeout},
};
use uuid::Uuid;
use vehicle_gateway::{
    domain::{
        Action, Broadcast, Command, CommandOrigin, CommandState, DeviceId, DisconnectReason,
        Timestamp,
    },
    fanout::{
        Answer, AskError, Asked, Fanout, FanoutOptions, FanoutState, Incoming, Notice,
        RemoteCommand, RemoteOutcome, Request, SendError, SessionOver,
    },
};

use crate::support::{PATIENCE, Redis, wait_until};

const CHANNEL: &str = "VehicleServers";

/// An instance as the fan-out sees it.
struct Instance {
    id: Uuid,
    fanout: Fanout,
    incoming: mpsc::Receiver<Incoming>,
}

impl Instance {
    /// That looks for Redis.
    async fn new(url: &str, channel: &str) -> Self {
        let options = FanoutOptions {
            url: url.to_owned(),
            shown: "redis://shown".to_owned(),
            channel: channel.to_owned(),
        };
        let (fanout, incoming) = Fanout::connect(options).unwrap();
        let id = Uuid::now_v7();
        fanout.begin_life(id).await;
        Self {
            id,
            fanout,
            incoming,
        }
    }

    /// That has found it, and knows that what was before is missed.
    async fn up(redis: &Redis) -> Self {
        Self::up_on(redis, CHANNEL).await
    }

    async fn up_on(redis: &Redis, channel: &str) -> Self {
        let mut instance = Self::new(&redis.url(), channel).await;
        instance.becomes(FanoutState::Up).await;
        assert_eq!(instance.next().await, Incoming::MayHaveMissed);
        instance
    }

    async fn becomes(&self, state: FanoutState) {
        let mut ticks = interval(Duration::from_millis(10));
        let asked = timeout(PATIENCE, async {
            while self.fanout.state() != state {
                ticks.tick().await;
            }
        });
        asked.await.unwrap_or_else(|_| panic!("never {state:?}"));
    }

    /// What arrives next.
    async fn next(&mut self) -> Incoming {
        let incoming = timeout(PATIENCE, self.incoming.recv()).await;
        incoming.expect("nothing arrives").unwrap()
    }

    async fn next_asked(&mut self) -> (Asked, Request) {
        match self.next().await {
            Incoming::Asked(asked, request) => (asked, request),
            other => panic!("no request: {other:?}"),
        }
    }

    async fn ask(&self, to: Uuid, time: Duration) -> Result<Answer, AskError> {
        let deadline = Instant::now() + time;
        self.fanout.ask(to, &command(), deadline).await
    }
}

fn device() -> DeviceId {
    DeviceId::parse("truck-19").unwrap()
}

fn command() -> Request {
    Request::Command(RemoteCommand {
        id: Uuid::now_v7(),
        device_id: device(),
        action: Action::Run,
        timeout: Duration::from_millis(9_500),
        expires_at: Timestamp::from_millis(1_795_402_499_050),
        queue: Some(Duration::from_mins(1)),
        key: Some("a key".to_owned()),
    })
}

fn done() -> Answer {
    Answer::Command(RemoteOutcome::Ended(Command {
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
    }))
}

fn over(through_epoch: i64) -> Notice {
    Notice::SessionsOver(vec![SessionOver {
        device_id: device(),
        through_epoch,
        reason: DisconnectReason::Superseded,
    }])
}

fn told(through_epoch: i64) -> Incoming {
    Incoming::Told(over(through_epoch))
}

fn channel_of(instance: Uuid) -> String {
    format!("{CHANNEL}:instance:{instance}")
}

#[tokio::test(flavor = "multi_thread")]
async fn instances_ask_and_answer_each_other() {
    let redis = Redis::start();
    let (mut a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let request = command();
    let deadline = Instant::now() + PATIENCE;
    let (asked, answered) = (a.fanout.ask(b.id, &request, deadline), async {
        let (asked, heard) = b.next_asked().await;
        assert_eq!((asked.origin(), heard), (a.id, request.clone()));
        b.fanout.answer(&asked, &done_like(&request)).await
    });
    let (answer, sent) = tokio::join!(asked, answered);
    assert_eq!((answer.unwrap(), sent), (done_like(&request), Ok(())));

    let request = Request::Broadcast {
        action: Action::Rest,
        timeout: Duration::from_secs(10),
    };
    let counts = Answer::Broadcast(Broadcast {
        addressed: 3,
        done: 1,
        unsent: 2,
        ..Broadcast::default()
    });
    let (asked, answered) = (b.fanout.ask(a.id, &request, deadline), async {
        let (asked, heard) = a.next_asked().await;
        assert_eq!(heard, request);
        a.fanout.answer(&asked, &counts).await
    });
    let (answer, sent) = tokio::join!(asked, answered);
    assert_eq!((answer, sent), (Ok(counts), Ok(())));
}

/// An answer that can be told from those to other requests.
fn done_like(request: &Request) -> Answer {
    let (Answer::Command(RemoteOutcome::Ended(command)), Request::Command(asked)) =
        (done(), request)
    else {
        panic!("no command")
    };
    Answer::Command(RemoteOutcome::Ended(Command {
        id: asked.id,
        ..command
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_after_the_deadline_or_once_more_is_nobodys() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let late = Duration::from_millis(300);
    assert_eq!(a.ask(b.id, late).await, Err(AskError::NoAnswer));
    let (first, _) = b.next_asked().await;
    b.fanout.answer(&first, &done()).await.unwrap();

    let request = command();
    let (asked, answered) = (
        a.fanout.ask(b.id, &request, Instant::now() + PATIENCE),
        async {
            let (asked, _) = b.next_asked().await;
            for _ in 0..3 {
                b.fanout.answer(&first, &done()).await.unwrap();
                let answer = done_like(&request);
                b.fanout.answer(&asked, &answer).await.unwrap();
            }
        },
    );
    let (answer, ()) = tokio::join!(asked, answered);
    assert_eq!(answer, Ok(done_like(&request)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_to_something_else_is_none() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let (answer, ()) = tokio::join!(a.ask(b.id, PATIENCE), async {
        let (asked, _) = b.next_asked().await;
        let counts = Answer::Broadcast(Broadcast::default());
        b.fanout.answer(&asked, &counts).await.unwrap();
    });
    assert_eq!(answer, Err(AskError::Unsupported));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_listen_is_nobody() {
    let redis = Redis::start();
    let a = Instance::up(&redis).await;
    let gone = Uuid::now_v7();
    assert_eq!(a.ask(gone, PATIENCE).await, Err(AskError::NobodyThere));
    let sent = a.fanout.notify(gone, &over(1)).await;
    assert_eq!(sent, Err(SendError::NobodyThere));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_redis_nobody_is_there() {
    let fanout = Fanout::none();
    fanout.begin_life(Uuid::now_v7()).await;
    assert_eq!(fanout.state(), FanoutState::None);
    let deadline = Instant::now() + PATIENCE;
    let answer = fanout.ask(Uuid::now_v7(), &command(), deadline).await;
    assert_eq!(answer, Err(AskError::Unavailable));
    let sent = fanout.notify(Uuid::now_v7(), &over(1)).await;
    assert_eq!(sent, Err(SendError::Unavailable));
    fanout.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_redis_fails_at_once_and_heals_by_itself() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    redis.kill();
    let started = Instant::now();
    while a.ask(b.id, Duration::from_millis(100)).await != Err(AskError::Unavailable) {}
    assert!(started.elapsed() < Duration::from_secs(1));
    b.becomes(FanoutState::Down).await;
    // What is said now is not said later.
    let sent = a.fanout.notify(b.id, &over(1)).await;
    assert_eq!(sent, Err(SendError::Unavailable));
    // Nor does it keep anything waiting.
    let started = Instant::now();
    a.fanout.begin_life(a.id).await;
    assert!(started.elapsed() < Duration::from_secs(1));

    redis.restart();
    for instance in [&a, &b] {
        instance.becomes(FanoutState::Up).await;
    }
    assert_eq!(b.next().await, Incoming::MayHaveMissed);
    a.fanout.notify(b.id, &over(2)).await.unwrap();
    assert_eq!(b.next().await, told(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_may_come_later() {
    let redis = Redis::start();
    redis.kill();
    let mut a = Instance::new(&redis.url(), CHANNEL).await;
    assert_eq!(a.fanout.state(), FanoutState::Down);
    assert_eq!(
        a.ask(Uuid::now_v7(), PATIENCE).await,
        Err(AskError::Unavailable)
    );
    redis.restart();
    a.becomes(FanoutState::Up).await;
    assert_eq!(a.next().await, Incoming::MayHaveMissed);
    assert_eq!(redis.hearers(&channel_of(a.id)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redis_that_hangs_is_noticed_and_heals_by_itself() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    redis.pause();
    let started = Instant::now();
    let sent = a.fanout.notify(b.id, &over(1)).await;
    assert_eq!(sent, Err(SendError::Unconfirmed));
    b.becomes(FanoutState::Down).await;
    a.becomes(FanoutState::Down).await;
    assert!(
        started.elapsed() < Duration::from_secs(9),
        "{:?}",
        started.elapsed()
    );
    let sent = a.fanout.notify(b.id, &over(2)).await;
    assert_eq!(sent, Err(SendError::Unavailable));

    redis.resume();
    for instance in [&a, &b] {
        instance.becomes(FanoutState::Up).await;
    }
    assert_eq!(b.next().await, Incoming::MayHaveMissed);
    a.fanout.notify(b.id, &over(3)).await.unwrap();
    assert_eq!(b.next().await, told(3));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_does_not_hear_itself() {
    let redis = Redis::start();
    let (mut a, b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    a.fanout.notify(a.id, &over(1)).await.unwrap();
    let broken = json!({"version": 1, "kind": "notice", "type": "?", "origin": a.id});
    redis.publish(&channel_of(a.id), &broken.to_string());
    b.fanout.notify(a.id, &over(2)).await.unwrap();
    assert_eq!(a.next().await, told(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_later_versions_are_answered_unsupported() {
    let redis = Redis::start();
    let a = Instance::up(&redis).await;
    let later = Uuid::now_v7();
    let mut answers = redis.subscribe(&channel_of(later));
    let requests = [
        json!({"version": 1, "type": "self-destruct"}),
        json!({"version": 2, "type": "broadcast"}),
        json!({"version": 1, "type": "broadcast", "message": "HEY YOU, FLY!", "timeoutMillis": 1}),
    ];
    for mut request in requests {
        let correlation = Uuid::new_v4();
        request["kind"] = json!("request");
        request["origin"] = json!(later);
        request["correlation"] = json!(correlation);
        redis.publish(&channel_of(a.id), &request.to_string());
        let answer: Value = serde_json::from_str(&answers.next()).unwrap();
        assert_eq!(
            answer,
            json!({
                "version": 1, "kind": "answer", "type": "unsupported", "origin": a.id,
                "correlation": correlation,
            })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_not_understood_ends_the_wait() {
    let redis = Redis::start();
    let a = Instance::up(&redis).await;
    for (version, type_) in [(1, "unsupported"), (1, "maybe"), (2, "command-outcome")] {
        let other = Uuid::now_v7();
        let mut requests = redis.subscribe(&channel_of(other));
        let (answer, ()) = tokio::join!(a.ask(other, PATIENCE), async {
            let request: Value = tokio::task::spawn_blocking(move || {
                serde_json::from_str(&requests.next()).unwrap()
            })
            .await
            .unwrap();
            let answer = json!({
                "version": version, "kind": "answer", "type": type_, "origin": other,
                "correlation": request["correlation"],
            });
            redis.publish(&channel_of(a.id), &answer.to_string());
        });
        assert_eq!(answer, Err(AskError::Unsupported));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_broken_is_dropped_and_the_rest_goes_on() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let huge = "[".repeat(1 << 20);
    let broken = [
        "",
        "{",
        "null",
        "[]",
        "{}",
        "\u{1b}[31m",
        r#"{"version":1}"#,
        &huge,
    ];
    for channel in [CHANNEL.to_owned(), channel_of(b.id)] {
        for message in broken {
            assert!(redis.publish(&channel, message) > 0);
        }
    }
    a.fanout.notify(b.id, &over(1)).await.unwrap();
    assert_eq!(b.next().await, told(1));
    assert_eq!(b.fanout.state(), FanoutState::Up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_burst_arrives_whole() {
    const BURST: i64 = 5_000;
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let (fanout, to) = (Arc::new(a.fanout), b.id);
    let heard = tokio::spawn(async move {
        let mut heard = BTreeSet::new();
        for _ in 0..BURST {
            match b.next().await {
                Incoming::Told(Notice::SessionsOver(over)) => heard.insert(over[0].through_epoch),
                other => panic!("no notice: {other:?}"),
            };
        }
        heard
    });
    let mut sends = JoinSet::new();
    for epoch in 0..BURST {
        let fanout = Arc::clone(&fanout);
        sends.spawn(async move { fanout.notify(to, &over(epoch)).await });
    }
    for sent in sends.join_all().await {
        sent.unwrap();
    }
    assert!(heard.await.unwrap().into_iter().eq(0..BURST));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_service_misses_notices_and_is_told_so_but_holds_up_no_answers() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let (mut kept, mut missed) = (0, false);
    for epoch in 0..4_200 {
        a.fanout.notify(b.id, &over(epoch)).await.unwrap();
    }
    // It asks, and hears the answer behind all that.
    let (mut c, deadline) = (Instance::up(&redis).await, Instant::now() + PATIENCE);
    let request = command();
    let (answer, ()) = tokio::join!(b.fanout.ask(c.id, &request, deadline), async {
        let (asked, _) = c.next_asked().await;
        let answer = done_like(&request);
        c.fanout.answer(&asked, &answer).await.unwrap();
    });
    assert_eq!(answer, Ok(done_like(&request)));
    while !missed {
        match b.next().await {
            Incoming::Told(_) => kept += 1,
            other => missed = other == Incoming::MayHaveMissed,
        }
    }
    assert_eq!(kept, 4_096);
    a.fanout.notify(b.id, &over(-1)).await.unwrap();
    assert_eq!(b.next().await, told(-1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_hears_what_is_for_it_and_no_more_what_was_for_the_old_one() {
    let redis = Redis::start();
    let (a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let (old, new) = (b.id, Uuid::now_v7());
    let (asked, ()) = tokio::join!(b.ask(a.id, PATIENCE), async {
        // Its requests under way are over.
        b.fanout.begin_life(new).await;
    });
    assert_eq!(asked, Err(AskError::NoAnswer));
    a.fanout.notify(new, &over(2)).await.unwrap();
    assert_eq!(b.next().await, told(2));
    wait_until("the old life is heard no more", || {
        (redis.hearers(&channel_of(old)) == 0).then_some(())
    });
    assert_eq!(redis.hearers(&channel_of(new)), 1);
    assert_eq!(b.fanout.state(), FanoutState::Up);
    // Also after the next connection.
    redis.kill();
    b.becomes(FanoutState::Down).await;
    redis.restart();
    b.becomes(FanoutState::Up).await;
    assert_eq!(redis.hearers(&channel_of(old)), 0);
    assert_eq!(redis.hearers(&channel_of(new)), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_life_answers_as_itself() {
    let redis = Redis::start();
    let (a, b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let new = Uuid::now_v7();
    a.fanout.begin_life(new).await;
    let mut channel = redis.subscribe(&channel_of(b.id));
    a.fanout.notify(b.id, &over(1)).await.unwrap();
    let origin = loop {
        let message: Value = serde_json::from_str(&channel.next()).unwrap();
        if message["type"] == "sessions-over" {
            break message["origin"].clone();
        }
    };
    assert_eq!(origin, json!(new));
}

#[tokio::test(flavor = "multi_thread")]
async fn fleets_with_different_channels_do_not_hear_each_other() {
    let redis = Redis::start();
    let mut a = Instance::up_on(&redis, "north").await;
    let mut b = Instance::up_on(&redis, "south").await;
    assert_eq!(a.ask(b.id, PATIENCE).await, Err(AskError::NobodyThere));
    let spoken = |vehicle: &str| {
        json!({"type": "command", "message": "GOTTA GO.", "clientId": vehicle}).to_string()
    };
    redis.publish("north", &spoken("n"));
    redis.publish("south", &spoken("s"));
    for (instance, vehicle) in [(&mut a, "n"), (&mut b, "s")] {
        let spoken = Incoming::Spoken {
            device_id: DeviceId::parse(vehicle).unwrap(),
            action: Action::Goodbye,
        };
        assert_eq!(instance.next().await, spoken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn people_command_vehicles_by_the_shared_channel() {
    let redis = Redis::start();
    let (mut a, mut b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    for wrong in [
        r#"{"type":"command","message":"HEY YOU, FLY!","clientId":"truck-19"}"#,
        r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck 19"}"#,
        r#"{"type":"order","message":"HEY YOU, RUN!","clientId":"truck-19"}"#,
        r#"{"type":"command","message":"HEY YOU, RUN!"}"#,
        "HEY YOU, RUN!",
    ] {
        assert_eq!(redis.publish(CHANNEL, wrong), 2);
    }
    let right = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
    redis.publish(CHANNEL, right);
    for instance in [&mut a, &mut b] {
        let spoken = Incoming::Spoken {
            device_id: device(),
            action: Action::Run,
        };
        assert_eq!(instance.next().await, spoken);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_redis() {
    let redis = Redis::with_password("open-sesame");
    let mut a = Instance::up(&redis).await;
    let b = Instance::up(&redis).await;
    b.fanout.notify(a.id, &over(1)).await.unwrap();
    assert_eq!(a.next().await, told(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_carries_messages_and_does_not_know_who_listens() {
    let redis = Redis::cluster();
    let url = redis.url().replace("redis:", "redis-cluster:");
    let (a, mut b) = (
        Instance::new(&url, CHANNEL).await,
        Instance::new(&url, CHANNEL).await,
    );
    for instance in [&a, &b] {
        instance.becomes(FanoutState::Up).await;
    }
    assert_eq!(b.next().await, Incoming::MayHaveMissed);
    a.fanout.notify(b.id, &over(1)).await.unwrap();
    assert_eq!(b.next().await, told(1));
    let soon = Duration::from_millis(300);
    assert_eq!(a.ask(Uuid::now_v7(), soon).await, Err(AskError::NoAnswer));
    redis.kill();
    b.becomes(FanoutState::Down).await;
    redis.restart();
    b.becomes(FanoutState::Up).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_closed_neither_hears_nor_waits() {
    let redis = Redis::start();
    let (a, b) = (Instance::up(&redis).await, Instance::up(&redis).await);
    let (asked, ()) = tokio::join!(a.ask(b.id, PATIENCE), a.fanout.close());
    assert!(matches!(
        asked,
        Err(AskError::NoAnswer | AskError::Unavailable)
    ));
    assert_eq!(a.fanout.state(), FanoutState::Down);
    assert_eq!(a.ask(b.id, PATIENCE).await, Err(AskError::Unavailable));
    // Neither does what is dropped.
    let id = b.id;
    drop(b);
    for id in [a.id, id] {
        wait_until("nobody hears it", || {
            (redis.hearers(&channel_of(id)) == 0).then_some(())
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_if_the_url_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rediss://{}", listener.local_addr().unwrap());
    let a = Instance::new(&url, CHANNEL).await;
    let first = tokio::task::spawn_blocking(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut hello = [0; 6];
        stream.read_exact(&mut hello).unwrap();
        hello
    });
    // A handshake of TLS 1.x: a ClientHello.
    let hello = first.await.unwrap();
    assert_eq!((hello[0], hello[1], hello[5]), (22, 3, 1));
    assert_eq!(a.fanout.state(), FanoutState::Down);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_url_that_cannot_be_used_is_refused_at_once_and_without_its_secrets() {
    for url in [
        "redis://:open-sesame@",
        "redis://:open-sesame@localhost:99999",
        "redis://:open-sesame@localhost/first",
        "redis-sentinel://:open-sesame@localhost",
        "open-sesame",
    ] {
        let options = FanoutOptions {
            url: url.to_owned(),
            shown: "redis://shown".to_owned(),
            channel: CHANNEL.to_owned(),
        };
        assert!(!format!("{options:?}").contains("sesame"));
        let error = Fanout::connect(options).expect_err(url);
        assert!(!format!("{error} {error:?}").contains("sesame"), "{error}");
    }
}

/// What the log says at `info` and above, also of the client's library. For tests that run on one thread.
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

#[tokio::test]
async fn an_outage_is_one_warning_and_its_end_one_line_none_with_the_password() {
    let (redis, log) = (Redis::with_password("open-sesame"), Log::default());
    let _following = log.follow();
    let a = Instance::up(&redis).await;
    assert_eq!(log.lines("INFO").len(), 1, "{:?}", log.lines(""));
    redis.kill();
    a.becomes(FanoutState::Down).await;
    // Some attempts fail.
    let refusing = TcpListener::bind(redis.address()).unwrap();
    let refusing = tokio::task::spawn_blocking(move || {
        for _ in 0..3 {
            drop(refusing.accept().unwrap());
        }
    });
    refusing.await.unwrap();
    redis.restart();
    a.becomes(FanoutState::Up).await;
    let (warnings, ends) = (log.lines("WARN"), log.lines("INFO"));
    assert_eq!((warnings.len(), ends.len()), (1, 2), "{:?}", log.lines(""));
    assert!(warnings[0].contains("redis://shown"), "{warnings:?}");
    assert_eq!(log.lines("sesame"), [""; 0]);
}

#[tokio::test]
async fn what_is_not_understood_is_told_once_and_says_what_would_be_right() {
    let (redis, log) = (Redis::start(), Log::default());
    let _following = log.follow();
    let mut a = Instance::up(&redis).await;
    for _ in 0..3 {
        redis.publish(CHANNEL, "HEY YOU,\nRUN!");
        redis.publish(&channel_of(a.id), "{");
    }
    let right = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
    redis.publish(CHANNEL, right);
    assert!(matches!(a.next().await, Incoming::Spoken { .. }));
    let warnings = log.lines("WARN");
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let shared: Vec<_> = log.lines("shared channel");
    assert!(shared[0].contains(r#"{"type":"command","message":"HEY YOU, RUN!""#));
    assert!(shared[0].contains("HEY YOU,\\nRUN!"), "{shared:?}");
}
