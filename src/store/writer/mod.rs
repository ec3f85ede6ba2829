//! The one task that writes: it takes the requests that wait in the queue, applies them as one transaction, and replies
//! to each after the commit. Latency is one commit; throughput grows with load; a full queue holds callers back.
//!
//! `queue` holds the requests that wait, `batching` decides what a batch is made of and how often it is tried, and
//! `fencing` begins a new incarnation when other instances have declared this one dead.

mod batching;
mod fencing;
mod ledger;
mod queue;

use std::{
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc, watch},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

use super::{
    StoreOptions,
    batch::{BatchCache, SideEffects},
    clock::Clock,
    command_watch::CommandWatchers,
    commit_health::CommitHealth,
    database::{CommittedBatch, Incarnation, WriteConnection},
    queued_deadlines::QueuedDeadlines,
    write_request::QueuedWrite,
};
use crate::{
    backoff::Backoff, domain::IncarnationId, log_throttle::LogThrottle,
    outage_reasons::OutageReasons, state::Eviction,
};

use ledger::BatchLedger;
pub(super) use queue::WriteQueue;

/// The pauses between attempts of a batch that the database cannot commit now: from the first, each twice as long as
/// the one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);

/// The first lines name their endpoint.
static BEHIND: LogThrottle = LogThrottle::lines_in(10, Duration::from_mins(1), |webhooks| {
    tracing::warn!(
        webhooks,
        "webhook is behind; changes of vehicles' state are not stored for it until it works again"
    );
});
static DISABLED: LogThrottle = LogThrottle::lines_in(10, Duration::from_mins(1), |webhooks| {
    tracing::error!(
        webhooks,
        "webhook disabled; it gets nothing until it is enabled again"
    );
});

/// What the writer publishes to the rest of the store, and how it is stopped.
pub(super) struct WriterSignals {
    /// Whether other instances may write to the database, too.
    pub(super) is_shared: bool,
    pub(super) clock: Clock,
    /// Cancelled when the store closes: the writer then settles what is queued and ends.
    pub(super) closing: CancellationToken,
    pub(super) watchers: CommandWatchers,
    pub(super) queued: QueuedDeadlines,
    /// The id of the current incarnation. Changes when this instance was declared dead and the neyt incarnation has
    /// begun.
    pub(super) incarnation: watch::Sender<IncarnationId>,
    /// Cancelled, by the writer alone, when another gateway has been started under the name of this one.
    pub(super) fenced: CancellationToken,
    /// Sessions of other instances that a commit ended. Those that the channel has no room for are dropped; their
    /// instances find out by reconciling.
    pub(super) evictions: mpsc::Sender<Vec<Eviction>>,
    /// The last stored batch, for readers; `None` on a file.
    pub(super) committed: Option<CommittedBatch>,
    /// The number of batches that the database has lost after it had acknowledged them, since the start.
    pub(super) lost_batches: Arc<AtomicU64>,
    /// Notified after a commit that may have made a delivery queue due.
    pub(super) webhooks: Arc<Notify>,
}

/// The task behind a [`WriteQueue`].
pub(super) struct WriterTask {
    connection: WriteConnection,
    cache: BatchCache,
    /// On a server: the longest time between two commits, each of which renews the incarnation.
    renew_every: Option<Duration>,
    requests: mpsc::UnboundedReceiver<QueuedWrite>,
    /// Requests whose vehicles another instance had locked during the last batch. The next batch begins with them.
    deferred: Vec<QueuedWrite>,
    signals: WriterSignals,
    incarnation: Incarnation,
    /// Whether the incarnation was declared dead and the next has not begun.
    is_lost: bool,
    /// The id of the next incarnation, the same in all attempts to begin it: an attempt without an answer may have
    /// begun it.
    next_incarnation: Option<IncarnationId>,
    /// Whether an attempt to commit has collided with a write of another instance since the last commit. The first
    /// collision says nothing about the database's health; a second counts as a failure.
    collided: bool,
    ledger: BatchLedger,
    health: CommitHealth,
    /// Why the database does not commit, while it does not.
    reasons: OutageReasons,
}

/// Makes the queue and the task that empties it. The task runs until `signals.closing` is cancelled and every queued
/// request is committed or rejected.
pub(super) fn new(
    options: &StoreOptions,
    connection: WriteConnection,
    signals: WriterSignals,
) -> (WriteQueue, WriterTask) {
    let health = CommitHealth::new();
    let (queue, requests) = WriteQueue::new(options, health.clone());
    let task = WriterTask {
        connection,
        cache: BatchCache::default(),
        renew_every: signals.is_shared.then_some(options.lease / 4),
        requests,
        deferred: Vec::new(),
        signals,
        incarnation: Incarnation {
            id: options.incarnation,
            name: options.instance_name.clone(),
        },
        is_lost: false,
        next_incarnation: None,
        collided: false,
        ledger: BatchLedger::default(),
        health,
        reasons: OutageReasons::default(),
    };
    (queue, task)
}

impl WriterTask {
    /// Writes batches until `signals.closing` is cancelled and every queued request is committed or rejected. Then it
    /// retires the incarnation and closes the connection.
    pub(super) async fn run(mut self) {
        let mut held_over = None;
        loop {
            if !self.deferred.is_empty() {
                // The instance that holds the locks commits within milliseconds.
                sleep(FIRST_PAUSE).await;
            } else if held_over.is_none() {
                match self.next().await {
                    Some(request) => held_over = Some(request),
                    None => break,
                }
            }
            let batch = self.gather(&mut held_over);
            self.settle(batch).await;
        }
        self.retire().await;
        self.connection.discard().await;
    }

    /// Waits for the next request; `None` once the queue is closed and empty. Meanwhile it commits empty batches: on a
    /// server often enough to renew the incarnation, and every [`LONGEST_PAUSE`] while the database cannot commit, so
    /// that its recovery is noticed without a write.
    async fn next(&mut self) -> Option<QueuedWrite> {
        loop {
            let idle = match self.renew_every {
                _ if !self.health.is_good() => LONGEST_PAUSE,
                Some(every) => every.saturating_sub(self.health.since_commit()),
                None => Duration::MAX,
            };
            tokio::select! {
                biased;
                next = self.requests.recv() => return next,
                () = self.signals.closing.cancelled() => {
                    // Refuses new requests; those in the queue are still returned.
                    self.requests.close();
                    return self.requests.recv().await;
                }
                () = sleep(idle) => {
                    // Nobody waits for an empty batch: its error is logged, and the loop tries again.
                    let _logged = self.try_to_commit(&mut []).await;
                }
            }
        }
    }

    /// Publishes the side effects of a batch that is committed.
    fn publish(&self, effects: SideEffects) {
        self.signals.queued.remove(&effects.finished);
        self.signals.queued.add(effects.queued);
        self.signals.watchers.notify(effects.finished);
        if !effects.evictions.is_empty()
            && self.signals.evictions.try_send(effects.evictions).is_err()
        {
            tracing::debug!("instances find out later that some of their sessions are over");
        }
        for id in effects.webhooks.behind {
            if let Some(webhooks) = BEHIND.admit() {
                tracing::warn!(%id, webhooks, "webhook is behind; changes of vehicles' state are not stored for it until it works again");
            } else {
                tracing::debug!(%id, "webhook is behind; changes of vehicles' state are not stored for it until it works again");
            }
        }
        for (id, reason) in effects.webhooks.disabled {
            // Not its URL: that may hold a secret.
            let reason = reason.as_str();
            if let Some(webhooks) = DISABLED.admit() {
                tracing::error!(%id, reason, webhooks, "webhook disabled; it gets nothing until it is enabled again");
            } else {
                tracing::debug!(%id, reason, "webhook disabled; it gets nothing until it is enabled again");
            }
        }
        if effects.webhooks.due {
            self.signals.webhooks.notify_one();
        }
    }
}
