//! The one task that writes: it takes the requests that wait in the queue, applies them as one transaction, and replies
//! to each after the commit. Latency is one commit; throughput grows with load; a full queue holds callers back.
//!
//! `queue` is where requests wait, `pacing` when a batch begins, `batching` what it is made of and how often it is tried,
//! and `fencing` what happens when other instances have declared this one dead.

mod batching;
mod fencing;
mod pacing;
mod queue;

use std::{sync::Arc, time::Duration};

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
    database::{Incarnation, WriteConnection},
    write_request::QueuedWrite,
};
use crate::{backoff::Backoff, domain::IncarnationId, state::Eviction};

use pacing::BatchPacing;
pub(super) use queue::WriteQueue;

/// The pauses between attempts of a batch that the database cannot commit now: from the first, each twice as long as the
/// one before, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
const BACKOFF: Backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);

/// What the writer publishes to the rest of the store, and how it is stopped.
pub(super) struct WriterSignals {
    /// Whether other instances may write to the database, too.
    pub(super) is_shared: bool,
    pub(super) clock: Clock,
    pub(super) closing: CancellationToken,
    pub(super) watchers: CommandWatchers,
    /// The current incarnation: another one after this instance was declared dead.
    pub(super) incarnation: watch::Sender<IncarnationId>,
    /// Cancelled by the writer alone: another gateway has taken the name of this one.
    pub(super) fenced: CancellationToken,
    /// Sessions of other instances that a commit ended. Instances find out by themselves about those that do not fit.
    pub(super) evictions: mpsc::Sender<Vec<Eviction>>,
    /// Something may be due for delivery.
    pub(super) webhooks: Arc<Notify>,
}

/// The task behind a [`WriteQueue`].
pub(super) struct WriterTask {
    connection: WriteConnection,
    cache: BatchCache,
    /// On a server: how often something is committed at least, to renew the incarnation.
    renew_every: Option<Duration>,
    requests: mpsc::UnboundedReceiver<QueuedWrite>,
    /// Requests whose rows another instance had locked during the last batch; the first in the next.
    deferred: Vec<QueuedWrite>,
    pacing: BatchPacing,
    signals: WriterSignals,
    incarnation: Incarnation,
    /// The incarnation was declared dead, and the next has not begun.
    is_lost: bool,
    /// The id of the next incarnation, over all attempts to begin it: one whose answer is lost may have begun it.
    next_incarnation: Option<IncarnationId>,
    /// The last attempt to commit collided with another instance's: once is no sign of a database that is away.
    collided: bool,
    /// The number of the newest attempt to commit.
    last_batch: i64,
    health: CommitHealth,
}

/// Makes the queue, and the task behind it, which ends when it is told to and has settled what is queued.
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
        pacing: BatchPacing::default(),
        signals,
        incarnation: Incarnation {
            id: options.incarnation,
            name: options.instance_name.clone(),
        },
        is_lost: false,
        next_incarnation: None,
        collided: false,
        last_batch: 0,
        health,
    };
    (queue, task)
}

impl WriterTask {
    /// Writes until it is told to close and everything is settled.
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
            let batch = self.gather(&mut held_over).await;
            self.settle(batch).await;
        }
        self.retire().await;
        self.connection.discard().await;
    }

    /// The next request. Without one, a commit now and then renews the incarnation, and while the database is away a
    /// commit is tried, so that its return is noticed without a write.
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
                    // What is queued already is still handed out.
                    self.requests.close();
                    return self.requests.recv().await;
                }
                () = sleep(idle) => {
                    // No caller waits for it; the next attempt comes by itself.
                    let _logged = self.try_to_commit(&mut []).await;
                }
            }
        }
    }

    /// Publishes the side effects of a batch that is committed.
    fn publish(&self, effects: SideEffects) {
        self.signals.watchers.notify(effects.finished);
        if !effects.evictions.is_empty()
            && self.signals.evictions.try_send(effects.evictions).is_err()
        {
            tracing::debug!("instances find out later that some of their sessions are over");
        }
        for (id, reason) in effects.webhooks.disabled {
            // Not its URL: that may hold a secret.
            tracing::error!(%id, reason = reason.as_str(), "webhook disabled; it gets nothing until it is enabled again");
        }
        if effects.webhooks.due {
            self.signals.webhooks.notify_one();
        }
    }
}
