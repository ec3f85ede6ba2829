//! Sends what is due: claims lanes, sends their messages, notes what came of it.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    task::JoinSet,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{Attempt, Counts, Delivery, Outcome, Secret, SecretError, Sender};
use crate::store::{self, Claimable, Endpoint, Outgoing, Settled, Store, StoreError};

/// Messages of one lane that are sent in a row before others have their turn.
const IN_A_ROW: usize = 16;
/// How often it is looked what became due by time, or was left by another instance.
const LOOK: Duration = Duration::from_secs(1);
/// The shortest time between two claims that found nothing: somebody else may be at it.
const BREATH: Duration = Duration::from_millis(50);
/// How often it is looked at most: what became due shortly after is found with it.
const PACE: Duration = Duration::from_millis(10);
/// How much longer than an attempt a claim lasts: for what came of it to be stored.
const CLAIM_SLACK: Duration = Duration::from_secs(5);
/// The pause between two tries to store what came of a message.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);
/// An attempt comes this much earlier or later than planned, in hundredths, so that not everybody comes at once.
const JITTER: f64 = 10.0;

/// How messages are sent.
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// When a message is sent: after each of these times, until it is delivered.
    pub schedule: Vec<Duration>,
    /// An endpoint that fails for so long is disabled.
    pub disable_after: Duration,
    /// Messages on their way to one endpoint at once.
    pub concurrency: usize,
    /// The longest an endpoint may take.
    pub timeout: Duration,
}

/// Sends what is due.
#[derive(Debug)]
pub struct Dispatcher {
    store: Arc<Store>,
    sender: Sender,
    options: DispatcherOptions,
    counts: Counts,
    /// Endpoints whose last attempt failed, so that it is told once.
    failing: Mutex<HashSet<Uuid>>,
}

impl Dispatcher {
    /// Sends nothing yet.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        sender: Sender,
        options: DispatcherOptions,
        counts: Counts,
    ) -> Self {
        Self {
            store,
            sender,
            options,
            counts,
            failing: Mutex::default(),
        }
    }

    /// Sends what is due until it is told to stop, and then ends what is on its way.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut lanes = JoinSet::new();
        let mut busy: HashMap<Uuid, usize> = HashMap::new();
        while !stop.is_cancelled() {
            let looked = Instant::now();
            let pause = match self.claim(&busy).await {
                Ok(Claimed { messages, pause }) => {
                    for outgoing in messages {
                        *busy.entry(outgoing.key.endpoint_id).or_default() += 1;
                        lanes.spawn(Arc::clone(&self).work(outgoing, looked, stop.clone()));
                    }
                    pause
                }
                Err(error) => {
                    tracing::debug!(%error, "cannot look what webhooks are due");
                    LOOK
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.store.webhooks_due() => {}
                () = sleep(pause) => {}
                Some(done) = lanes.join_next() => free(&mut busy, done),
            }
            // Whatever happens meanwhile is found by one look.
            let _stopped = stop.run_until_cancelled(sleep_until(looked + PACE)).await;
            while let Some(done) = lanes.try_join_next() {
                free(&mut busy, done);
            }
        }
        while lanes.join_next().await.is_some() {}
    }

    /// Claims what is due, as far as there is room for it, and tells when to look again.
    async fn claim(&self, busy: &HashMap<Uuid, usize>) -> Result<Claimed, StoreError> {
        let now = self.store.now();
        let mut pause = LOOK;
        let mut wanted = Vec::new();
        for endpoint in self.store.due_endpoints().await? {
            let under_way = busy.get(&endpoint.id).copied().unwrap_or(0);
            let most = if endpoint.fails {
                1
            } else {
                self.options.concurrency
            };
            let room = most.saturating_sub(under_way);
            if room == 0 {
                continue;
            }
            if endpoint.due > now {
                pause = pause.min(endpoint.due.since(now));
                continue;
            }
            wanted.push(Claimable {
                endpoint_id: endpoint.id,
                lanes: room as u64,
            });
        }
        if wanted.is_empty() {
            let messages = Vec::new();
            return Ok(Claimed { messages, pause });
        }
        let messages = self.store.claim_messages(wanted, self.lasts()).await?;
        // If there was more than room for, the next that ends makes room.
        let pause = if messages.is_empty() { BREATH } else { pause };
        Ok(Claimed { messages, pause })
    }

    fn lasts(&self) -> Duration {
        self.options.timeout + CLAIM_SLACK
    }

    /// Sends messages of a lane, one after the other. Returns to whom.
    async fn work(
        self: Arc<Self>,
        first: Outgoing,
        claimed: Instant,
        stop: CancellationToken,
    ) -> Uuid {
        let endpoint_id = first.key.endpoint_id;
        // If the commit of the claim took too long, somebody else may claim it while it is on its way.
        let mut next = Some(first).filter(|_| claimed.elapsed() < CLAIM_SLACK);
        let mut left = IN_A_ROW;
        while let Some(outgoing) = next {
            left -= 1;
            let attempt = match self.delivery(&outgoing) {
                Ok(delivery) => self.sender.send(&delivery).await,
                Err(error) => unsendable(&error),
            };
            self.counts.add(&attempt);
            self.tell(&outgoing.endpoint, &attempt);
            let go_on = left > 0 && !stop.is_cancelled();
            let settled = self.settled(outgoing, attempt, go_on);
            next = self.settle(settled).await;
        }
        endpoint_id
    }

    fn delivery(&self, outgoing: &Outgoing) -> Result<Delivery, SecretError> {
        let now = self.store.now();
        let endpoint = &outgoing.endpoint;
        let previous = endpoint.previous_secret.as_ref();
        let previous = previous.filter(|(_, until)| now < *until);
        Ok(Delivery {
            url: endpoint.url.clone(),
            trusted: endpoint.configured,
            id: outgoing.key.id.to_string(),
            timestamp: now.as_millis().div_euclid(1000),
            body: Bytes::from(outgoing.body.clone()),
            secret: Secret::parse(&endpoint.secret.0)?,
            old_secret: previous
                .map(|(secret, _)| Secret::parse(&secret.0))
                .transpose()?,
        })
    }

    fn settled(&self, outgoing: Outgoing, attempt: Attempt, go_on: bool) -> Settled {
        let error = match &attempt.outcome {
            Outcome::Delivered => None,
            Outcome::Gone => Some("answered 410: it wants no messages any more".to_owned()),
            Outcome::Failed { error, .. } => Some(error.clone()),
        };
        let tries = usize::try_from(outgoing.attempts).unwrap_or(usize::MAX);
        let outcome = match attempt.outcome {
            Outcome::Delivered => store::Outcome::Delivered,
            Outcome::Gone => store::Outcome::Gone,
            Outcome::Failed {
                retry_after: pause,
                is_endpoint,
                ..
            } => match self.options.schedule.get(tries.saturating_add(1)) {
                Some(after) => store::Outcome::Again {
                    after: jittered(*after).max(pause.unwrap_or_default()),
                    is_endpoint,
                    pause,
                },
                None => store::Outcome::GivenUp { is_endpoint, pause },
            },
        };
        // One that was sent before its time is not.
        if matches!(outcome, store::Outcome::GivenUp { .. }) && !outgoing.is_early {
            self.counts.given_up.inc();
        }
        Settled {
            key: outgoing.key,
            endpoint: outgoing.endpoint,
            is_early: outgoing.is_early,
            outcome,
            attempt: store::Attempt {
                status: attempt.status,
                took: Some(attempt.took),
                answer: Some(attempt.answer).filter(|answer| !answer.is_empty()),
                error,
            },
            go_on: go_on.then(|| self.lasts()),
        }
    }

    /// Stores what came of a message, for as long as nobody else has a right to send it; returns the next one.
    async fn settle(&self, settled: Settled) -> Option<Outgoing> {
        let deadline = Instant::now() + CLAIM_SLACK;
        loop {
            let ticket = self
                .store
                .settle_message(settled.clone(), self.options.disable_after);
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, ticket).await {
                Ok(Ok(next)) => return next,
                Ok(Err(StoreError::Unavailable | StoreError::Fenced)) => sleep(SETTLE_PAUSE).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "what came of a message is not stored; it is sent again");
                    return None;
                }
                Err(_elapsed) => return None,
            }
        }
    }

    /// Logs the first failure of an endpoint, and the first success after it.
    fn tell(&self, endpoint: &Endpoint, attempt: &Attempt) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match &attempt.outcome {
            Outcome::Delivered => {
                if failing.remove(&endpoint.id) {
                    tracing::info!(id = %endpoint.id, "webhook works again");
                }
            }
            Outcome::Gone => {}
            Outcome::Failed { error, .. } => {
                if failing.insert(endpoint.id) {
                    tracing::warn!(id = %endpoint.id, %error, "webhook fails; messages wait and are sent again");
                } else {
                    tracing::debug!(id = %endpoint.id, %error, "webhook still fails");
                }
            }
        }
    }
}

/// What was claimed, and when to look again.
struct Claimed {
    messages: Vec<Outgoing>,
    pause: Duration,
}

fn free(busy: &mut HashMap<Uuid, usize>, done: Result<Uuid, tokio::task::JoinError>) {
    match done {
        Ok(endpoint_id) => {
            if let Some(count) = busy.get_mut(&endpoint_id) {
                *count = count.saturating_sub(1);
            }
        }
        // It would hold its room for ever; the others are counted again as they end.
        Err(error) => {
            tracing::error!(%error, "a delivery ended badly");
            busy.clear();
        }
    }
}

fn unsendable(error: &SecretError) -> Attempt {
    Attempt {
        outcome: Outcome::Failed {
            retry_after: None,
            is_endpoint: true,
            error: format!("its secret cannot be used: {error}"),
        },
        status: None,
        took: Duration::ZERO,
        answer: String::new(),
    }
}

fn jittered(time: Duration) -> Duration {
    let hundredths = (fastrand::f64() * 2.0 - 1.0) * JITTER;
    time.mul_f64(1.0 + hundredths / 100.0)
}
