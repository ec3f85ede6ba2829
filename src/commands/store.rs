//! The store as commands use it: every wait for a commit is bounded, and a command that was stored or claimed after the
//! end of that wait is withdrawn.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use super::failure_log;
#[cfg(test)]
use super::tests::VirtualTime;
use crate::{
    domain::{Command, DeviceId, IncarnationId, SessionKey, Timestamp, Vehicle},
    store::{
        Claimed, CommandTransition, CommandWatch, NewCommand, PendingWrite, SessionWrite, Store,
        StoreError, Submitted, Written,
    },
};

/// How often a command is read that another instance may end: only ends by this instance are notified.
pub(super) const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// The operations of the store that commands need.
#[derive(Debug, Clone)]
pub(super) struct CommandStore {
    store: Arc<Store>,
    /// Makes paused time wait for the database, which works on threads of its own.
    #[cfg(test)]
    virtual_time: Option<VirtualTime>,
}

impl CommandStore {
    pub(super) fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            #[cfg(test)]
            virtual_time: None,
        }
    }

    /// A store on a database that the instances of one test share, with the clock of that test.
    #[cfg(test)]
    pub(super) fn shared_in_test(store: Arc<Store>, virtual_time: VirtualTime) -> Self {
        Self {
            store,
            virtual_time: Some(virtual_time),
        }
    }

    /// Whether other instances may be on this database.
    pub(super) fn is_shared(&self) -> bool {
        #[cfg(test)]
        if self.virtual_time.is_some() {
            return true;
        }
        self.store.is_shared()
    }

    /// The time by the clock that all instances on this database share.
    pub(super) fn now(&self) -> Timestamp {
        #[cfg(test)]
        if let Some(virtual_time) = &self.virtual_time {
            return virtual_time.now();
        }
        self.store.now()
    }

    pub(super) async fn vehicle(
        &self,
        device_id: &DeviceId,
    ) -> Result<Option<Vehicle>, StoreError> {
        self.work(self.store.vehicle(device_id)).await
    }

    pub(super) async fn command(
        &self,
        device_id: &DeviceId,
        id: Uuid,
    ) -> Result<Option<Command>, StoreError> {
        self.work(self.store.command(device_id, id)).await
    }

    /// The incarnations that are alive, this one among them.
    pub(super) async fn instances(&self) -> Result<Vec<IncarnationId>, StoreError> {
        self.work(self.store.live_instances()).await
    }

    /// Resolves when the command ends by a commit of this instance.
    pub(super) fn watch(&self, id: Uuid) -> CommandWatch {
        self.store.watch_command(id)
    }

    /// Queues a vehicle's answer for the next commit.
    pub(super) fn write(&self, session: SessionKey, write: SessionWrite) -> PendingWrite<Written> {
        self.store.write(session, self.now(), write)
    }

    /// Stores a command. If the database hangs, fails with [`StoreError::Unavailable`], and whether the command is
    /// stored is unknown. If it turns out to be stored later, it is withdrawn, because its caller has got the error.
    pub(super) async fn submit(&self, new: NewCommand) -> Result<Submitted, StoreError> {
        let write = self.store.submit(new);
        self.commit_or_withdraw(write, |submitted| match submitted {
            Submitted::Stored(command, _) => Some((command.device_id, command.id)),
            _ => None,
        })
        .await
    }

    /// Claims a command for a session, which alone may write it then. If the database hangs, fails with
    /// [`StoreError::Unavailable`], and the command is not written. If it turns out to be claimed later, it is
    /// withdrawn.
    pub(super) async fn claim(&self, id: Uuid, session: SessionKey) -> Result<Claimed, StoreError> {
        let write = self.store.claim(id, session, self.now());
        self.commit_or_withdraw(write, |claimed| match claimed {
            Claimed::Claimed(command) => Some((command.device_id, command.id)),
            _ => None,
        })
        .await
    }

    /// Ends a command unless something else has ended it, and returns it as it is then; `None` if its vehicle was
    /// deleted and the command purged.
    pub(super) async fn end(
        &self,
        device_id: &DeviceId,
        id: Uuid,
        ending: CommandTransition,
    ) -> Result<Option<Command>, StoreError> {
        let write = self.store.finish(device_id.clone(), id, ending, self.now());
        self.work(self.store.settled(write)).await
    }

    /// The command if its end is notified before `until`. Ends by other instances are not notified: on a shared
    /// database this returns `None` after [`POLL_INTERVAL`] at the latest, for the caller to read the command.
    pub(super) async fn notified(
        &self,
        watch: &mut CommandWatch,
        until: Option<Instant>,
    ) -> Option<Command> {
        let poll = self.is_shared().then(|| Instant::now() + POLL_INTERVAL);
        let Some(until) = until.into_iter().chain(poll).min() else {
            return Some(watch.await);
        };
        timeout_at(until, watch).await.ok()
    }

    /// The longest wait for a commit.
    pub(super) fn commit_wait(&self) -> Duration {
        self.store.commit_wait()
    }

    /// Waits for a write for at most [`CommandStore::commit_wait`]. Should it commit later, withdraws the command that
    /// `unwritten` returns for its output.
    async fn commit_or_withdraw<T: Send + 'static>(
        &self,
        mut write: PendingWrite<T>,
        unwritten: impl FnOnce(T) -> Option<(DeviceId, Uuid)> + Send + 'static,
    ) -> Result<T, StoreError> {
        let waiting = timeout(self.commit_wait(), &mut write);
        if let Ok(committed) = self.work(waiting).await {
            return committed;
        }
        let store = self.clone();
        tokio::spawn(async move {
            if let Ok(committed) = store.work(write).await
                && let Some((device_id, id)) = unwritten(committed)
            {
                store.withdraw(&device_id, id).await;
            }
        });
        Err(StoreError::Unavailable)
    }

    /// Ends a command that was stored or claimed too late to be written.
    async fn withdraw(&self, device_id: &DeviceId, id: Uuid) {
        if let Err(error) = self.end(device_id, id, CommandTransition::Unwritten).await {
            failure_log::unwritten_not_ended(device_id, id, &error);
        }
    }

    /// Awaits work of the database. In tests the paused clock waits for it, too.
    async fn work<T>(&self, work: impl Future<Output = T>) -> T {
        #[cfg(test)]
        let _held = self.virtual_time.as_ref().map(VirtualTime::hold);
        work.await
    }
}
