//! What the gateway does by itself: recover at start, flush heartbeats, forget what is old.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    cluster::Peers,
    pacing::DEVICES_PER_WRITE,
    sessions::Registry,
    store::{CommandTransition, KEY_LIFETIME, LostSessions, Purge, Store, StoreError},
};

/// The age at which nobody waits for the answer to a command any more: the longest wait there is, and
/// twice the time for a commit.
const ABANDONED: Duration = Duration::from_mins(3);

/// How long rows are kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Reports.
    pub reports: Duration,
    /// Debug blobs.
    pub debug_blobs: Duration,
    /// Commands.
    pub commands: Duration,
    /// Messages of webhooks.
    pub webhooks: Duration,
}

/// Periodic work on the store.
#[derive(Debug)]
pub struct Maintenance {
    store: Arc<Store>,
    registry: Arc<Registry>,
    peers: Arc<Peers>,
}

impl Maintenance {
    /// Works on `store`, with the heartbeats of the sessions in `registry`.
    #[must_use]
    pub fn new(store: Arc<Store>, registry: Arc<Registry>, peers: Arc<Peers>) -> Self {
        Self {
            store,
            registry,
            peers,
        }
    }

    /// Sets vehicles offline that an earlier life of this process left online, and ends the commands that
    /// it had under way; to be done before devices may log in. Returns how many vehicles there were.
    ///
    /// On a database that others write to, too, it does nothing: there, what a life left behind is looked for
    /// all the time.
    pub async fn end_lost_sessions(&self) -> Result<usize, StoreError> {
        if self.store.is_shared() {
            return Ok(0);
        }
        let lost = self.store.abandoned_vehicles().await?;
        for devices in lost.chunks(DEVICES_PER_WRITE) {
            self.store
                .settled(self.store.end_lost_sessions(
                    devices.to_vec(),
                    LostSessions::All,
                    self.store.now(),
                ))
                .await?;
        }
        Ok(lost.len())
    }

    /// Stores the heartbeats since the last flush. What fails is not tried again: the next
    /// heartbeat, or the end of the session, brings a later one.
    pub async fn flush_heartbeats(&self) -> Result<(), StoreError> {
        let mut flushed = Ok(());
        for beats in self.registry.take_heartbeats().chunks(DEVICES_PER_WRITE) {
            let written = self
                .store
                .settled(self.store.write_heartbeats(beats.to_vec()))
                .await;
            flushed = flushed.and(written);
        }
        flushed
    }

    /// Deletes what is older than it may be, and what deleted vehicles left, in small steps.
    /// Returns how many rows it deleted.
    ///
    /// One instance does it for all: others would only wait for its locks.
    pub async fn purge(&self, retention: Retention) -> Result<u64, StoreError> {
        let life = *self.store.incarnation().borrow();
        // While they do not know each other yet, more than one may; that does no harm.
        if self.peers.list().iter().any(|other| *other < life) {
            return Ok(0);
        }
        let now = self.store.now();
        let mut deleted = self
            .purge_all(Purge::Reports(now.before(retention.reports)))
            .await?;
        deleted += self
            .purge_all(Purge::DebugBlobs(now.before(retention.debug_blobs)))
            .await?;
        deleted += self
            .purge_all(Purge::Commands(now.before(retention.commands)))
            .await?;
        deleted += self
            .purge_all(Purge::Keys(now.before(KEY_LIFETIME)))
            .await?;
        deleted += self
            .purge_all(Purge::Messages(now.before(retention.webhooks)))
            .await?;
        deleted += self.purge_all(Purge::DeletedEndpoints).await?;
        loop {
            let marks = self
                .store
                .histories_to_purge(DEVICES_PER_WRITE as u64)
                .await?;
            if marks.is_empty() {
                return Ok(deleted);
            }
            for (device_id, through) in marks {
                deleted += self
                    .purge_all(Purge::Forgotten(device_id.clone(), through))
                    .await?;
                self.store
                    .settled(self.store.mark_history_purged(device_id, through))
                    .await?;
            }
        }
    }

    /// Ends commands whose time is over and that nobody else ends: queued ones, and what a database that
    /// hung left open. Returns how many there were.
    pub async fn end_overdue_commands(&self) -> Result<usize, StoreError> {
        let now = self.store.now();
        let abandoned = now.before(ABANDONED);
        let overdue = self
            .store
            .overdue_commands(now, abandoned, DEVICES_PER_WRITE as u64)
            .await?;
        let mut tickets = Vec::new();
        for command in overdue {
            let ending = match command.sent_at {
                None => CommandTransition::Expire,
                // Whoever sent it was about it for this time, and is no more.
                Some(_) => CommandTransition::NoAnswer,
            };
            tickets.push(
                self.store
                    .finish(command.device_id, command.id, ending, now),
            );
        }
        let ended = tickets.len();
        for ticket in tickets {
            self.store.settled(ticket).await?;
        }
        Ok(ended)
    }

    async fn purge_all(&self, step: Purge) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let started = Instant::now();
            match self.store.settled(self.store.purge(step.clone())).await? {
                0 => return Ok(deleted),
                rows => deleted += rows,
            }
            // As long as the step took: others get at least half of the writer's time.
            tokio::time::sleep(started.elapsed()).await;
        }
    }
}
