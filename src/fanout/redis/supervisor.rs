//! Keeps the connections to Redis: connects, subscribes, proves that published messages arrive, and reconnects when
//! they do not.

use std::{convert::Infallible, sync::Arc, time::Duration};

use fastrand::Rng;
use fred::{error::Error, interfaces::EventInterface};
use tokio::{
    sync::{
        mpsc,
        watch::{self, error::RecvError},
    },
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tracing::{debug, info, warn};

use super::{
    Established, RedisShared,
    connection::{COMMAND_TIMEOUT, RedisConnection, Servers, publish},
    reader::{LastReceived, SubscriptionReader},
    refusal::is_refusal,
};
use crate::{
    backoff::Backoff,
    domain::IncarnationId,
    fanout::{
        codec,
        inbox::Inbox,
        message::{FanoutEvent, ReplyAddress},
    },
    outage_reasons::{OutageReason, OutageReasons},
};

/// The interval of probes: messages of this instance to itself, by which the supervisor sees whether published messages
/// arrive.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// How long nothing may arrive before the supervisor reconnects: three probes.
const SILENCE_LIMIT: Duration = Duration::from_secs(6);
/// How many requests may wait to be answered `unsupported`. Further ones are not answered, and their senders wait until
/// their deadlines.
const UNSUPPORTED_REQUESTS: usize = 64;
/// The delay before the second attempt to connect.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// The longest delay before an attempt: soon enough after Redis is back, and no load on it while it starts.
const LONGEST_DELAY: Duration = Duration::from_secs(3);

pub(super) struct Supervisor {
    pub(super) shared: Arc<RedisShared>,
    pub(super) servers: Servers,
    /// The URL of Redis without secrets, for the log.
    pub(super) shown: String,
    pub(super) events: mpsc::Sender<FanoutEvent>,
}

impl Supervisor {
    /// Runs until the task is aborted.
    pub(super) async fn run(self) {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        let mut rng = Rng::new();
        let mut reasons = OutageReasons::default();
        loop {
            let Err(reason) = self.connect_and_serve().await;
            let was_up = self.shared.set(Err(reason.clone()));
            if was_up {
                backoff.reset();
                reasons.end();
            }
            match reasons.note(&reason) {
                OutageReason::First => {
                    warn!(redis = %self.shown, %reason, "Redis is unavailable: other instances cannot be reached until it is back");
                }
                OutageReason::Another => {
                    warn!(redis = %self.shown, %reason, "Redis is still unavailable");
                }
                OutageReason::Known => {
                    debug!(redis = %self.shown, %reason, "Redis is still unavailable");
                }
            }
            sleep(backoff.next_pause_with_jitter(&mut rng)).await;
        }
    }

    /// Connects, subscribes, and publishes probes until a connection fails. The error says how it failed.
    async fn connect_and_serve(&self) -> Result<Infallible, String> {
        let text = |error| self.servers.reason(&error);
        let opened = tokio::try_join!(self.servers.subscriber(), self.servers.publisher());
        let (mut subscriber, mut publisher) = opened.map_err(text)?;
        let mut incarnations = self.shared.participant.incarnation.subscribe();
        let mut incarnation = *incarnations.borrow_and_update();
        // The channels of earlier incarnations. They stay subscribed to until a probe to the present incarnation has
        // arrived.
        let mut earlier: Vec<String> = Vec::new();
        let messages = subscriber.client.message_rx();
        for channel in [
            self.shared.channel.clone(),
            self.shared.channel_of(incarnation),
        ] {
            subscriber.subscribe(&channel).await.map_err(text)?;
        }
        let (unsupported, mut unsupported_requests) = mpsc::channel(UNSUPPORTED_REQUESTS);
        let participant = Arc::clone(&self.shared.participant);
        let inbox = Inbox::new(participant, self.events.clone(), unsupported);
        let reader = SubscriptionReader::new(Arc::clone(&self.shared), inbox);
        let mut last = reader.last_received();
        let mut reading = AbortOnDrop(tokio::spawn(reader.run(messages)));

        let mut established = None;
        // When Redis last took a probe, and before that when the connections were opened.
        let mut confirmed = Instant::now();
        let mut probes = interval(PROBE_INTERVAL);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let silent_since = confirmed.min(last.borrow().at);
            tokio::select! {
                Ok(()) = own_probe(&mut last, incarnation), if established != Some(incarnation) => {
                    if established.is_none() {
                        info!(redis = %self.shown, "Redis is connected");
                    }
                    self.establish(&publisher, incarnation);
                    established = Some(incarnation);
                    for channel in earlier.drain(..) {
                        subscriber.unsubscribe(&channel).await.map_err(text)?;
                    }
                }
                () = sleep_until(silent_since + SILENCE_LIMIT) => {
                    // A message may have arrived meanwhile.
                    if confirmed.min(last.borrow().at).elapsed() >= SILENCE_LIMIT {
                        return Err(format!("no published message arrived within {SILENCE_LIMIT:?}"));
                    }
                }
                error = subscriber.ended() => return Err(text(error)),
                error = publisher.ended() => return Err(text(error)),
                ended = &mut reading.0 => return Err(format!("the reader ended: {ended:?}")),
                _ = probes.tick() => {
                    let probe = codec::encode_probe(incarnation);
                    match self.publish(&publisher, incarnation, probe).await {
                        Ok(_receivers) => confirmed = Instant::now(),
                        Err(error) if is_refusal(&error) => return Err(text(error)),
                        // Without an answer, the silence shows.
                        Err(error) => debug!(reason = text(error), "probe not published"),
                    }
                }
                Ok(()) = incarnations.changed() => {
                    earlier.push(self.shared.channel_of(incarnation));
                    incarnation = *incarnations.borrow_and_update();
                    let channel = self.shared.channel_of(incarnation);
                    subscriber.subscribe(&channel).await.map_err(text)?;
                    probes.reset_immediately();
                }
                Some(reply_to) = unsupported_requests.recv() => {
                    self.answer_unsupported(&publisher, incarnation, reply_to).await;
                }
            }
        }
    }

    /// Lets this instance publish on the connection: a probe has shown that messages to this incarnation arrive.
    fn establish(&self, publisher: &RedisConnection, incarnation: IncarnationId) {
        self.shared.set(Ok(Established {
            publisher: publisher.client.clone(),
            incarnation,
        }));
    }

    async fn answer_unsupported(
        &self,
        publisher: &RedisConnection,
        incarnation: IncarnationId,
        reply_to: ReplyAddress,
    ) {
        let answer = codec::encode_unsupported(incarnation, reply_to.correlation);
        let sent = self.publish(publisher, reply_to.origin, answer).await;
        debug!(to = %reply_to.origin, sent = sent.is_ok(), "unsupported request refused");
    }

    async fn publish(
        &self,
        publisher: &RedisConnection,
        to: IncarnationId,
        message: String,
    ) -> Result<u64, Error> {
        let channel = self.shared.channel_of(to);
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        publish(&publisher.client, channel, message, deadline).await
    }
}

/// A task that is aborted when this is dropped.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits until this incarnation has received its own probe. Fails if the reader has ended.
async fn own_probe(
    last: &mut watch::Receiver<LastReceived>,
    incarnation: IncarnationId,
) -> Result<(), RecvError> {
    last.wait_for(|last| last.probe == Some(incarnation))
        .await
        .map(drop)
}
