//! The system of record: SQL behind domain types.
//!
//! Everything that changes a table goes through one writer task ([`PendingWrite`] resolves after the
//! commit); reads go to connections of their own. Rows never leave this module.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio::sync::{Notify, mpsc, watch as watch_channel};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::domain::{Command, DeviceId, SessionKey, Timestamp, Vehicle, VehicleState};

mod batch;
mod clock;
mod commit_wait;
mod database;
mod entities;
mod error;
mod fold;
mod health;
mod intent;
mod purge;
mod queries;
mod statements;
mod watch;
mod webhooks;
mod writer;

pub use database::{DatabaseAddress, migrate};
pub use error::{OpenError, StoreError};
pub use fold::commands::KEY_LIFETIME;
pub use intent::{
    Claimed, CommandTransition, Eviction, IdempotencyKey, Login, LostSessions, Membership,
    NewCommand, Peer, Purge, Registered, SessionWrite, StalledPeer, Submitted, Written,
};
pub use queries::{CommandPage, HistoryPage, Position};
pub use watch::CommandWatch;
pub use webhooks::{
    Attempt, Claimable, Disabled, DueEndpoint, Endpoint, EndpointChange, EndpointHealth,
    EndpointState, Message, MessageKey, MessagePage, MessageState, NewEndpoint, Outcome, Outgoing,
    Retried, RetryStep, SecretText, Settled,
};
pub use writer::PendingWrite;

use clock::Clock;
use database::{FileLock, Life, Opened};
use intent::Intent;
use watch::Watchers;
use writer::{Signals, Writer};

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the database is.
    pub database: DatabaseAddress,
    /// Connections for reading.
    pub readers: u32,
    /// The first incarnation of this instance, as sessions name it in their vehicle's row.
    pub incarnation: Uuid,
    /// The name of this instance, which all its incarnations share.
    pub instance_name: String,
    /// Bytes of write intents that may wait.
    pub queue_bytes: usize,
    /// How long an intent is retried before it fails with [`StoreError::Unavailable`].
    pub commit_timeout: Duration,
    /// How long this instance may commit nothing before another may declare it dead.
    pub lease: Duration,
}

/// Commits whose evictions may wait to be told to others.
const EVICTIONS: usize = 1_024;

/// The open store.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    watchers: Watchers,
    writer_task: TaskTracker,
    closing: CancellationToken,
    reader: DatabaseConnection,
    clock: Clock,
    commit_timeout: Duration,
    incarnation: watch_channel::Receiver<Uuid>,
    fenced: CancellationToken,
    evictions: Mutex<Option<mpsc::Receiver<Vec<Eviction>>>>,
    webhooks: Arc<Notify>,
    owner: Option<FileLock>,
}

impl Store {
    /// Takes the file for this process, brings its schema up to date and starts the writer.
    pub async fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let life = Life {
            id: options.incarnation,
            name: options.instance_name.clone(),
        };
        let Opened {
            write_connection,
            reader,
            lock,
            clock,
        } = database::open(&options.database, options.readers, &life, options.lease).await?;
        let closing = CancellationToken::new();
        let writer_task = TaskTracker::new();
        let watchers = Watchers::default();
        let fenced = CancellationToken::new();
        let (life, follow_incarnation) = watch_channel::channel(options.incarnation);
        let (told, evictions) = mpsc::channel(EVICTIONS);
        let webhooks = Arc::new(Notify::new());
        let signals = Signals {
            is_shared: lock.is_none(),
            clock: clock.clone(),
            closing: closing.clone(),
            watchers: watchers.clone(),
            life,
            fenced: fenced.clone(),
            evictions: told,
            webhooks: Arc::clone(&webhooks),
        };
        let (writer, task) = Writer::new(&options, write_connection, signals);
        writer_task.spawn(task.run());
        writer_task.close();
        Ok(Self {
            writer,
            watchers,
            writer_task,
            closing,
            reader,
            clock,
            commit_timeout: options.commit_timeout,
            incarnation: follow_incarnation,
            fenced,
            evictions: Mutex::new(Some(evictions)),
            webhooks,
            owner: lock,
        })
    }

    /// Commits what is queued, refuses what comes later, and closes the database.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.closing.cancel();
        self.writer_task.wait().await;
        self.reader.close_by_ref().await.map_err(StoreError::Read)
    }

    /// Resolves once another gateway has taken the name of this one, which writes nothing more.
    pub async fn fenced(&self) {
        self.fenced.cancelled().await;
    }

    /// Whether other instances may be on this database.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.owner.is_none()
    }

    /// The id of the current incarnation. It changes after other instances have declared this one dead: the
    /// sessions of the last incarnation are lost then.
    #[must_use]
    pub fn incarnation(&self) -> &watch_channel::Receiver<Uuid> {
        &self.incarnation
    }

    /// Sessions of other instances that this one's commits ended, a commit at a time. For one caller: the
    /// second gets nothing.
    pub fn take_evictions(&self) -> Option<mpsc::Receiver<Vec<Eviction>>> {
        let mut evictions = self
            .evictions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        evictions.take()
    }

    /// The time, by the clock that all instances on this database share.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How long ago something was committed. On a shared database that happens at least every quarter of
    /// the lease.
    #[must_use]
    pub fn since_commit(&self) -> Duration {
        self.writer.health().since_commit()
    }

    /// Whether the last commit succeeded and the database answers a read within `store.commit_timeout`.
    pub async fn check(&self) -> Result<(), StoreError> {
        if !self.writer.health().is_good() {
            return Err(StoreError::Unavailable);
        }
        let read = self.reader.execute_unprepared("SELECT 1");
        tokio::time::timeout(self.commit_timeout, read)
            .await
            .map_err(|_elapsed| StoreError::Unavailable)?
            .map_err(StoreError::of_read)?;
        Ok(())
    }

    /// Stores a login: the vehicle (made if it is new) gets the next epoch and is online.
    pub fn log_in(
        &self,
        device_id: DeviceId,
        remote: SocketAddr,
        at: Timestamp,
    ) -> PendingWrite<Login> {
        self.writer.submit(|reply| Intent::Login {
            device_id,
            remote,
            at,
            reply,
        })
    }

    /// Stores what a session says, unless the session no longer holds its vehicle.
    pub fn write(
        &self,
        session: SessionKey,
        at: Timestamp,
        write: SessionWrite,
    ) -> PendingWrite<Written> {
        self.writer.submit(|reply| Intent::Session {
            session,
            at,
            write,
            reply,
        })
    }

    /// Stores when sessions were last heard; those that hold their vehicle no more are left out.
    pub fn write_heartbeats(&self, beats: Vec<(SessionKey, Timestamp)>) -> PendingWrite<()> {
        self.writer
            .submit(|reply| Intent::Heartbeats { beats, reply })
    }

    /// Ends the sessions of those of `devices` that are lost, and the commands that they had under way.
    pub fn end_lost_sessions(
        &self,
        devices: Vec<DeviceId>,
        whose: LostSessions,
        at: Timestamp,
    ) -> PendingWrite<()> {
        self.writer.submit(|reply| Intent::EndLost {
            devices,
            whose,
            at,
            reply,
        })
    }

    /// Sets those of `devices` offline that have not come back in their time.
    pub fn end_graces(&self, devices: Vec<DeviceId>, at: Timestamp) -> PendingWrite<()> {
        self.writer
            .submit(|reply| Intent::EndGrace { devices, at, reply })
    }

    /// Declares lives dead that have committed nothing since they were seen last, forgets the `buried`, which
    /// are dead and hold no vehicle, and tells who is there. Looks at the database's clock, too.
    pub fn update_membership(
        &self,
        stalled: Vec<StalledPeer>,
        buried: Vec<Uuid>,
    ) -> PendingWrite<Membership> {
        self.writer.submit(|reply| Intent::Membership {
            stalled,
            buried,
            reply,
        })
    }

    /// Makes a vehicle before its first login; one that exists stays as it is.
    pub fn register(&self, device_id: DeviceId, at: Timestamp) -> PendingWrite<Registered> {
        self.writer.submit(|reply| Intent::Register {
            device_id,
            at,
            reply,
        })
    }

    /// Stores a report that came without a session.
    pub fn update_status(
        &self,
        device_id: DeviceId,
        state: VehicleState,
        at: Timestamp,
    ) -> PendingWrite<Vehicle> {
        self.writer.submit(|reply| Intent::StatusUpdate {
            device_id,
            at,
            state,
            reply,
        })
    }

    /// Forgets a vehicle and returns its last epoch; `None` if there is none. Its history is hidden
    /// at once and purged later.
    pub fn delete(&self, device_id: DeviceId, at: Timestamp) -> PendingWrite<Option<i64>> {
        self.writer.submit(|reply| Intent::Delete {
            device_id,
            at,
            reply,
        })
    }

    /// Stores a command, unless nothing is to come of it.
    pub fn submit(&self, command: NewCommand) -> PendingWrite<Submitted> {
        let command = Box::new(command);
        self.writer
            .submit(|reply| Intent::Submit { command, reply })
    }

    /// Makes a command the session's to write: at most once, and only in time.
    pub fn claim(&self, id: Uuid, session: SessionKey, at: Timestamp) -> PendingWrite<Claimed> {
        self.writer.submit(|reply| Intent::Claim {
            id,
            session,
            at,
            reply,
        })
    }

    /// Ends a command, if it is still where `ending` finds it, and returns it as it is then.
    pub fn finish(
        &self,
        device_id: DeviceId,
        id: Uuid,
        ending: CommandTransition,
        at: Timestamp,
    ) -> PendingWrite<Option<Command>> {
        self.writer.submit(|reply| Intent::Finish {
            device_id,
            id,
            ending,
            at,
            reply,
        })
    }

    /// Resolves when a command comes to its end from now on.
    pub fn watch_command(&self, id: Uuid) -> CommandWatch {
        self.watchers.watch(id)
    }

    /// Deletes some old rows and says how many: 0 means that there are no more.
    pub fn purge(&self, step: Purge) -> PendingWrite<u64> {
        self.writer.submit(|reply| Intent::Purge { step, reply })
    }

    /// Notes that the history of a deleted life is purged.
    pub fn mark_history_purged(&self, device_id: DeviceId, through: Timestamp) -> PendingWrite<()> {
        self.writer.submit(|reply| Intent::Forgotten {
            device_id,
            through,
            reply,
        })
    }
}
