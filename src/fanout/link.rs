//! Keeps the way through Redis open: connects, subscribes, sees that what is published comes back, and begins
//! anew when it does not.

use std::{convert::Infallible, sync::Arc, time::Duration};

use fred::interfaces::EventInterface;
use tokio::{
    sync::{
        mpsc,
        watch::{self, error::RecvError},
    },
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval, sleep, sleep_until},
};
use tracing::{debug, info, warn};
use uuid::Uuid;

use super::{
    Shared, Up,
    message::{Asked, Incoming},
    reader::{Heard, Reader},
    servers::{COMMAND_TIMEOUT, Connection, Published, Servers, publish},
    wire,
};

/// How often it is seen whether what is published comes back.
const PROBE: Duration = Duration::from_secs(2);
/// The longest that nothing may come back: three probes.
const SILENCE: Duration = Duration::from_secs(6);
/// Requests not understood that wait to be refused; the senders of further ones wait in vain.
const REFUSALS: usize = 64;
/// Before the second attempt to connect.
const FIRST_DELAY: Duration = Duration::from_millis(100);
/// Before later ones, at most: soon enough after Redis is back, and no load on it while it starts.
const LONGEST_DELAY: Duration = Duration::from_secs(3);

pub(super) struct Link {
    pub(super) shared: Arc<Shared>,
    pub(super) servers: Servers,
    /// Redis as the log shows it.
    pub(super) shown: String,
    pub(super) incoming: mpsc::Sender<Incoming>,
}

impl Link {
    /// Never ends; to be aborted.
    pub(super) async fn keep(self) {
        let mut delay = FIRST_DELAY;
        let mut warned = false;
        loop {
            let Err(reason) = self.hold().await;
            let was_up = self.shared.up.send_replace(None).is_some();
            if was_up {
                delay = FIRST_DELAY;
                warned = false;
            }
            if warned {
                debug!(redis = %self.shown, %reason, "Redis is still away");
            } else {
                warn!(redis = %self.shown, %reason, "Redis is away: other instances cannot be reached until it is back");
                warned = true;
            }
            // Instances that lost Redis at the same time do not come back at the same time.
            sleep(delay.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
            delay = (2 * delay).min(LONGEST_DELAY);
        }
    }

    /// Goes on for as long as the connections are good. The error is why they no longer are.
    async fn hold(&self) -> Result<Infallible, String> {
        let opened = tokio::try_join!(self.servers.subscriber(), self.servers.publisher());
        let (mut subscriber, mut publisher) = opened.map_err(text)?;
        let mut lives = self.shared.life.subscribe();
        let mut life = *lives.borrow_and_update();
        // The channels of earlier lives, heard until the one of the present life certainly is.
        let mut earlier: Vec<String> = Vec::new();
        let messages = subscriber.client.message_rx();
        for channel in [self.shared.channel.clone(), self.shared.channel_of(life)] {
            subscriber.subscribe(&channel).await.map_err(text)?;
        }
        let (refuse, mut refusals) = mpsc::channel(REFUSALS);
        let reader = Reader::new(Arc::clone(&self.shared), self.incoming.clone(), refuse);
        let mut heard = reader.heard();
        let mut reading = Reading(tokio::spawn(reader.run(messages)));

        let mut raised = None;
        let mut confirmed = Instant::now();
        let mut probes = interval(PROBE);
        probes.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let silent_since = confirmed.min(heard.borrow().at);
            tokio::select! {
                Ok(()) = hears_itself(&mut heard, life), if raised != Some(life) => {
                    if raised.is_none() {
                        info!(redis = %self.shown, "Redis is reached");
                    }
                    self.raise(&publisher, life);
                    raised = Some(life);
                    for channel in earlier.drain(..) {
                        subscriber.unsubscribe(&channel).await.map_err(text)?;
                    }
                }
                () = sleep_until(silent_since + SILENCE) => {
                    // Something may have been heard meanwhile.
                    if confirmed.min(heard.borrow().at).elapsed() >= SILENCE {
                        return Err(format!("nothing that was published came back within {SILENCE:?}"));
                    }
                }
                error = subscriber.ended() => return Err(text(error)),
                error = publisher.ended() => return Err(text(error)),
                ended = &mut reading.0 => return Err(format!("the reader ended: {ended:?}")),
                _ = probes.tick() => {
                    let probe = wire::probe(life);
                    let sent = self.publish(&publisher, life, probe).await;
                    if matches!(sent, Published::Sent | Published::ToNobody) {
                        confirmed = Instant::now();
                    }
                }
                Ok(()) = lives.changed() => {
                    earlier.push(self.shared.channel_of(life));
                    life = *lives.borrow_and_update();
                    let channel = self.shared.channel_of(life);
                    subscriber.subscribe(&channel).await.map_err(text)?;
                    probes.reset_immediately();
                }
                Some(asked) = refusals.recv() => self.refuse(&publisher, life, asked).await,
            }
        }
    }

    /// Others can be reached from now on, and reach this life.
    fn raise(&self, publisher: &Connection, life: Uuid) {
        self.shared.up.send_replace(Some(Up {
            client: publisher.client.clone(),
            life,
        }));
    }

    async fn refuse(&self, publisher: &Connection, life: Uuid, asked: Asked) {
        let refusal = wire::unsupported(life, asked.correlation);
        let sent = self.publish(publisher, asked.origin, refusal).await;
        debug!(to = %asked.origin, ?sent, "refused a request that is not understood");
    }

    async fn publish(&self, publisher: &Connection, to: Uuid, message: String) -> Published {
        publish(
            &publisher.client,
            self.shared.channel_of(to),
            message,
            Instant::now() + COMMAND_TIMEOUT,
            self.shared.is_cluster,
        )
        .await
    }
}

/// The task that reads; ends when this is dropped.
struct Reading(JoinHandle<()>);

impl Drop for Reading {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Waits for what this life publishes to itself.
async fn hears_itself(heard: &mut watch::Receiver<Heard>, life: Uuid) -> Result<(), RecvError> {
    heard
        .wait_for(|heard| heard.probe == Some(life))
        .await
        .map(drop)
}

#[expect(clippy::needless_pass_by_value, reason = "it maps errors")]
fn text(error: fred::error::Error) -> String {
    error.details().to_owned()
}
