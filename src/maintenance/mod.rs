//! Periodic work on the store: recovery at startup, heartbeat flushes, retention, overdue commands, backlogs of
//! webhooks, the free space of the disk.

mod backlogs;
mod disk_watch;
mod purge_time;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::{
    cluster::Peers,
    domain::{DeviceId, Timestamp},
    pacing::DEVICES_PER_WRITE,
    sessions::Registry,
    store::{CommandTransition, KEY_LIFETIME, LostSessions, Purge, Store, StoreError},
};

use purge_time::PurgeTime;
use uuid::Uuid;

/// The age at which a sent command counts as abandoned: its request has waited for the longest command timeout (60 s)
/// and twice for a commit of up to 60 s. With a longer `store.commit_timeout` a request may still wait.
const ABANDONED: Duration = Duration::from_mins(3);

/// How long a key of the API that was revoked or has expired is kept, so that its owner hears what became of it.
const KEPT_ENDED: Duration = Duration::from_hours(30 * 24);

/// How long rows are kept (`retention.*`).
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
    /// Audit records.
    pub audit: Duration,
}

/// Heartbeats that could not be stored.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{heartbeats} heartbeats not stored: {error}")]
pub struct UnstoredHeartbeats {
    /// How many.
    pub heartbeats: u64,
    /// Why the last of them could not.
    pub error: StoreError,
}

/// Periodic work on the store of this instance.
#[derive(Debug)]
pub struct Maintenance {
    store: Arc<Store>,
    registry: Arc<Registry>,
    peers: Arc<Peers>,
    purge_time: Mutex<PurgeTime>,
}

impl Maintenance {
    /// Works on `store` with the heartbeats of the sessions in `registry`. `peers` tells which of the instances deletes
    /// old rows.
    #[must_use]
    pub fn new(store: Arc<Store>, registry: Arc<Registry>, peers: Arc<Peers>) -> Self {
        Self {
            store,
            registry,
            peers,
            purge_time: Mutex::default(),
        }
    }

    /// Sets vehicles offline that an earlier run of this gateway left online, and ends its outstanding commands. Must
    /// be called before devices may log in. Returns the number of vehicles.
    ///
    /// On a shared database it does nothing: there the membership task ends the sessions of dead incarnations.
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

    /// Stores the heartbeats since the last flush, and returns their number. A failed write is not retried: the next
    /// heartbeat or the end of the session stores a later one.
    pub async fn flush_heartbeats(&self) -> Result<u64, UnstoredHeartbeats> {
        let (mut stored, mut unstored) = (0, None);
        for heartbeats in self.registry.take_heartbeats().chunks(DEVICES_PER_WRITE) {
            let count = heartbeats.len() as u64;
            let write = self.store.write_heartbeats(heartbeats.to_vec());
            match self.store.settled(write).await {
                Ok(()) => stored += count,
                Err(error) => {
                    let before = unstored.map_or(0, |it: UnstoredHeartbeats| it.heartbeats);
                    unstored = Some(UnstoredHeartbeats {
                        heartbeats: before + count,
                        error,
                    });
                }
            }
        }
        unstored.map_or(Ok(stored), Err)
    }

    /// Deletes rows that are past their retention and the history of deleted vehicles, in small steps. Returns the
    /// number of deleted rows.
    ///
    /// Only the instance with the lowest incarnation id purges, because the others would only wait for its locks.
    ///
    /// What is past its retention is deleted from the second call on: one reading of a clock is not enough to delete a
    /// history, and one that jumped is not either.
    pub async fn purge(&self, retention: Retention) -> Result<u64, StoreError> {
        let now = self.read_purge_time();
        if !self.is_first() {
            return Ok(0);
        }
        let mut deleted = 0;
        if let Some(now) = now {
            let steps = [
                Purge::Reports(now.before(retention.reports)),
                Purge::DebugBlobs(now.before(retention.debug_blobs)),
                Purge::Commands(now.before(retention.commands)),
                Purge::Keys(now.before(KEY_LIFETIME)),
                Purge::Messages(now.before(retention.webhooks)),
                Purge::Audit(now.before(retention.audit)),
                Purge::EndedKeys(now.before(KEPT_ENDED)),
            ];
            for step in steps {
                deleted += self.purge_all(step).await?;
            }
        }
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

    /// Ends commands that are past their time and that no request ends: queued ones, and those whose request could not,
    /// because its instance died or the database stalled. At most 500 at once; returns their number.
    pub async fn end_overdue_commands(&self) -> Result<usize, StoreError> {
        let now = self.store.now();
        self.end_overdue_queued(now).await?;
        let abandoned = now.before(ABANDONED);
        let overdue = self
            .store
            .overdue_commands(now, abandoned, DEVICES_PER_WRITE as u64)
            .await?;
        let mut writes = Vec::new();
        for command in overdue {
            let transition = match command.sent_at {
                None => CommandTransition::Expire,
                // Longer ago than any request waits for its answer.
                Some(_) => CommandTransition::NoAnswer,
            };
            writes.push(
                self.store
                    .finish(command.device_id, command.id, transition, now),
            );
        }
        let ended = writes.len();
        for write in writes {
            self.store.settled(write).await?;
        }
        Ok(ended)
    }

    /// Ends commands that this instance queued and whose time is over by a monotonic clock, also if the clock of the
    /// database was set back. One that was sent meanwhile stays as it is.
    async fn end_overdue_queued(&self, now: Timestamp) -> Result<(), StoreError> {
        let overdue = self.store.take_overdue_queued(DEVICES_PER_WRITE);
        let end = |(device_id, id): &(DeviceId, Uuid)| {
            self.store
                .finish(device_id.clone(), *id, CommandTransition::Expire, now)
        };
        let writes: Vec<_> = overdue.iter().map(end).collect();
        let mut ended = Ok(());
        for ((device_id, id), write) in overdue.into_iter().zip(writes) {
            if let Err(error) = self.store.settled(write).await {
                self.store.put_back_queued(device_id, id);
                ended = Err(error);
            }
        }
        ended
    }

    fn read_purge_time(&self) -> Option<Timestamp> {
        let mut purge_time = self
            .purge_time
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        purge_time.read(self.store.now())
    }

    /// Whether this is the instance that does what one of them has to do: the one with the lowest incarnation id.
    /// Instances that do not know each other yet may both do it, which is harmless.
    fn is_first(&self) -> bool {
        let own = *self.store.incarnation().borrow();
        self.peers.list().iter().all(|peer| *peer >= own)
    }

    async fn purge_all(&self, step: Purge) -> Result<u64, StoreError> {
        let mut deleted = 0;
        loop {
            let started = Instant::now();
            match self.store.settled(self.store.purge(step.clone())).await? {
                0 => return Ok(deleted),
                rows => deleted += rows,
            }
            // As long as the step took, so that other writes get at least half of the writer's time.
            tokio::time::sleep(started.elapsed()).await;
        }
    }
}
