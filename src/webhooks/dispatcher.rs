//! Dispatcher: claims delivery queues that are due, sends their messages and settles the attempts.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    DeliveryAttempt, DeliveryCounters, Secret, SecretError, WebhookClient, WebhookRequest,
    in_flight::InFlight,
};
use crate::{
    domain::{AttemptOutcome, FailureCause},
    log_throttle::LogThrottle,
    state::RetrySchedule,
    store::{
        ClaimLimit, ClaimedMessage, DueLimits, Endpoint, FailureLimits, FinishedAttempt, Store,
        StoreError,
    },
};

/// Messages of one queue that are sent in a row before other queues have their turn.
const MESSAGES_IN_A_ROW: usize = 16;
/// How often the dispatcher looks for queues that became due by time, or whose claim by another instance has ended.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// The pause after a claim that found nothing: another instance may be claiming the same queues.
const EMPTY_CLAIM_PAUSE: Duration = Duration::from_millis(50);
/// The shortest time between two claims: what becomes due within it is claimed together.
const CLAIM_INTERVAL: Duration = Duration::from_millis(10);
/// How much longer than an attempt a claim lasts, so that its outcome can be stored.
const CLAIM_SLACK: Duration = Duration::from_secs(5);
/// The pause between two tries to store an outcome.
const SETTLE_PAUSE: Duration = Duration::from_millis(500);

const MILLIS_PER_SECOND: i64 = 1_000;

/// The first lines name their endpoint. All may fail together, and one whose messages fail now and then fails and
/// recovers with each.
static FAILURES: LogThrottle = LogThrottle::lines_in(LOGGED, LOG_INTERVAL, |times| {
    tracing::warn!(times, "webhook fails; messages wait and are sent again");
});
static RECOVERIES: LogThrottle = LogThrottle::lines_in(LOGGED, LOG_INTERVAL, |times| {
    tracing::info!(times, "webhook works again");
});
const LOGGED: u32 = 10;
const LOG_INTERVAL: Duration = Duration::from_mins(1);

/// Options of a [`Dispatcher`].
#[derive(Debug, Clone)]
pub struct DispatcherOptions {
    /// When a message is sent again.
    pub schedule: RetrySchedule,
    /// What follows if an endpoint fails for long.
    pub limits: FailureLimits,
    /// Messages in flight to one endpoint at most.
    pub concurrency: usize,
    /// The longest time for an attempt.
    pub timeout: Duration,
}

/// Sends messages that are due.
#[derive(Debug)]
pub struct Dispatcher {
    store: Arc<Store>,
    client: WebhookClient,
    options: DispatcherOptions,
    counters: DeliveryCounters,
    /// Endpoints whose last attempt failed, so that a failure is logged once. Written by the delivery tasks.
    failing: Mutex<HashSet<Uuid>>,
}

impl Dispatcher {
    /// Creates a dispatcher. It does nothing until it runs.
    #[must_use]
    pub fn new(
        store: Arc<Store>,
        client: WebhookClient,
        options: DispatcherOptions,
        counters: DeliveryCounters,
    ) -> Self {
        Self {
            store,
            client,
            options,
            counters,
            failing: Mutex::default(),
        }
    }

    /// Sends messages until `stop` is cancelled, and then waits for those in flight.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut in_flight = InFlight::default();
        while !stop.is_cancelled() {
            let started = Instant::now();
            let pause = match self.claim(&in_flight).await {
                Ok(claim) => {
                    for message in claim.messages {
                        let endpoint_id = message.key.queue.endpoint_id;
                        let task = Arc::clone(&self).deliver(message, started, stop.clone());
                        in_flight.spawn(endpoint_id, task);
                    }
                    claim.pause
                }
                Err(error) => {
                    tracing::debug!(%error, "due webhooks cannot be claimed");
                    POLL_INTERVAL
                }
            };
            tokio::select! {
                () = stop.cancelled() => {}
                () = self.store.webhooks_due() => {}
                () = sleep(pause) => {}
                Some(()) = in_flight.next_ended() => {}
            }
            let next = sleep_until(started + CLAIM_INTERVAL);
            let _stopped = stop.run_until_cancelled(next).await;
            in_flight.remove_ended();
        }
        while in_flight.next_ended().await.is_some() {}
    }

    /// Claims delivery queues that are due, as many as may be in flight, and with each its next message.
    async fn claim(&self, in_flight: &InFlight) -> Result<ClaimResult, StoreError> {
        let now = self.store.now();
        let mut pause = POLL_INTERVAL;
        let mut limits = Vec::new();
        for endpoint in self.store.due_endpoints().await? {
            let limit = if endpoint.only_probe {
                1
            } else {
                self.options.concurrency
            };
            let free = limit.saturating_sub(in_flight.count(endpoint.id));
            if free == 0 {
                continue;
            }
            if endpoint.due > now {
                pause = pause.min(endpoint.due.since(now));
                continue;
            }
            limits.push(ClaimLimit {
                endpoint_id: endpoint.id,
                queues: free as u64,
            });
        }
        if limits.is_empty() {
            let messages = Vec::new();
            return Ok(ClaimResult { messages, pause });
        }
        let lasts = self.claim_duration();
        let messages = self.store.claim_messages(limits, lasts).await?;
        // If more is due than may be in flight, the rest is claimed when a task ends.
        let pause = if messages.is_empty() {
            EMPTY_CLAIM_PAUSE
        } else {
            pause
        };
        Ok(ClaimResult { messages, pause })
    }

    /// How far ahead the time of a delivery may be.
    #[must_use]
    pub fn due_limits(&self) -> DueLimits {
        DueLimits {
            retry: self.options.schedule.longest_delay(),
            claim: self.claim_duration(),
        }
    }

    fn claim_duration(&self) -> Duration {
        self.options.timeout + CLAIM_SLACK
    }

    /// Sends messages of a queue, one after the other: until it has none that is due, [`MESSAGES_IN_A_ROW`] are sent,
    /// or `stop` is cancelled.
    async fn deliver(
        self: Arc<Self>,
        first: ClaimedMessage,
        claimed_at: Instant,
        stop: CancellationToken,
    ) {
        // If the claim's commit took too long, nothing is sent: the claim could end during the attempt, and another
        // instance would send the message too.
        let mut next = Some(first).filter(|_| claimed_at.elapsed() < CLAIM_SLACK);
        let mut left = MESSAGES_IN_A_ROW;
        while let Some(message) = next {
            left -= 1;
            let attempt = match self.request(&message) {
                Ok(request) => self.client.send(&request).await,
                Err(error) => {
                    let error = format!("its secret cannot be used: {error}");
                    DeliveryAttempt::unanswered(FailureCause::Endpoint, error, Duration::ZERO)
                }
            };
            self.counters.count(&attempt.outcome);
            self.log(&message.endpoint, &attempt);
            let goes_on = left > 0 && !stop.is_cancelled();
            let finished = self.finished(message, attempt, goes_on);
            next = self.settle(finished).await;
        }
    }

    fn request(&self, message: &ClaimedMessage) -> Result<WebhookRequest, SecretError> {
        let now = self.store.now();
        let endpoint = &message.endpoint;
        let previous = endpoint.previous_secret.as_ref();
        let previous = previous.filter(|(_, until)| now < *until);
        Ok(WebhookRequest {
            url: endpoint.url.clone(),
            trusted: endpoint.configured,
            id: message.key.id.to_string(),
            timestamp: now.as_millis().div_euclid(MILLIS_PER_SECOND),
            body: Bytes::from(message.body.clone()),
            secret: Secret::parse(&endpoint.secret.0)?,
            previous_secret: previous
                .map(|(secret, _)| Secret::parse(&secret.0))
                .transpose()?,
        })
    }

    /// Decides what follows from an attempt: whether and when the message is sent again, and whether the queue's next
    /// one is claimed.
    fn finished(
        &self,
        message: ClaimedMessage,
        attempt: DeliveryAttempt,
        goes_on: bool,
    ) -> FinishedAttempt {
        let retry_in = match attempt.outcome {
            AttemptOutcome::Failed { retry_after, .. } => {
                let schedule = &self.options.schedule;
                schedule.delay_after(message.attempts, retry_after, fastrand::f64())
            }
            AttemptOutcome::Delivered | AttemptOutcome::Gone => None,
        };
        let is_given_up = attempt.outcome.is_failure() && retry_in.is_none();
        // An attempt before the message's own time does not count, so it cannot be the last.
        if is_given_up && !message.is_early {
            self.counters.given_up.inc();
        }
        FinishedAttempt {
            key: message.key,
            endpoint: message.endpoint,
            is_early: message.is_early,
            outcome: attempt.outcome,
            retry_in,
            record: attempt.record,
            claim_next: goes_on.then(|| self.claim_duration()),
            limits: self.options.limits,
        }
    }

    /// Stores an outcome, as long as the claim lasts, and returns the next message of the queue, if it is claimed.
    async fn settle(&self, attempt: FinishedAttempt) -> Option<ClaimedMessage> {
        let deadline = Instant::now() + CLAIM_SLACK;
        loop {
            let write = self.store.settle_attempt(attempt.clone());
            let left = deadline.saturating_duration_since(Instant::now());
            match timeout(left, write).await {
                Ok(Ok(next)) => return next,
                Ok(Err(StoreError::Unavailable | StoreError::Fenced)) => sleep(SETTLE_PAUSE).await,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "outcome not stored: the message will be sent again");
                    return None;
                }
                Err(_elapsed) => return None,
            }
        }
    }

    /// Logs the first failure of an endpoint, and the first success after it.
    fn log(&self, endpoint: &Endpoint, attempt: &DeliveryAttempt) {
        let mut failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        match &attempt.outcome {
            AttemptOutcome::Delivered => {
                if failing.remove(&endpoint.id) {
                    if let Some(times) = RECOVERIES.admit() {
                        tracing::info!(id = %endpoint.id, times, "webhook works again");
                    } else {
                        tracing::debug!(id = %endpoint.id, "webhook works again");
                    }
                }
            }
            AttemptOutcome::Gone => {}
            AttemptOutcome::Failed { .. } => {
                let error = attempt.record.error.as_deref().unwrap_or_default();
                let is_first = failing.insert(endpoint.id);
                if let Some(times) = is_first.then(|| FAILURES.admit()).flatten() {
                    tracing::warn!(id = %endpoint.id, error, times, "webhook fails; messages wait and are sent again");
                } else {
                    tracing::debug!(id = %endpoint.id, error, "webhook still fails");
                }
            }
        }
    }
}

/// What was claimed, and the pause until the next claim.
struct ClaimResult {
    messages: Vec<ClaimedMessage>,
    pause: Duration,
}
