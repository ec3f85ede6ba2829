//! The system of record: SQL behind domain types.
//!
//! Everything that changes a table goes through one writer task ([`Ticket`] resolves after the
//! commit); reads go to connections of their own. Rows never leave this module.

use std::{net::SocketAddr, time::Duration};

use sea_orm::{ConnectionTrait, DatabaseConnection};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::domain::{Command, DeviceId, SessionKey, Timestamp, Vehicle, VehicleState};

mod batch;
mod database;
mod entities;
mod error;
mod fold;
mod intent;
mod purge;
mod queries;
mod watch;
mod writer;

pub use database::{DatabaseAddress, migrate};
pub use error::{OpenError, StoreError};
pub use fold::commands::KEY_LIFETIME;
pub use intent::{
    Claimed, Ending, IdempotencyKey, Login, NewCommand, Purge, Registered, SessionWrite, Submitted,
    Written,
};
pub use queries::{CommandPage, HistoryPage, Position};
pub use watch::Watch;
pub use writer::Ticket;

use database::{FileLock, Life, Opened};
use intent::Intent;
use watch::Watchers;
use writer::Writer;

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the database is.
    pub database: DatabaseAddress,
    /// Connections for reading.
    pub readers: u32,
    /// This life of this instance, as sessions name it in their vehicle's row.
    pub instance_id: String,
    /// The name of this instance, which stays over its lives.
    pub instance_name: String,
    /// Bytes of write intents that may wait.
    pub queue_bytes: usize,
    /// How long an intent is retried before it fails with [`StoreError::Unavailable`].
    pub commit_timeout: Duration,
}

/// The open store.
#[derive(Debug)]
pub struct Store {
    writer: Writer,
    watchers: Watchers,
    writer_task: TaskTracker,
    closing: CancellationToken,
    reader: DatabaseConnection,
    fenced: CancellationToken,
    _owner: Option<FileLock>,
}

impl Store {
    /// Takes the file for this process, brings its schema up to date and starts the writer.
    pub async fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let life = Life {
            id: &options.instance_id,
            name: &options.instance_name,
        };
        let Opened {
            write_connection,
            reader,
            lock,
        } = database::open(&options.database, options.readers, &life).await?;
        let closing = CancellationToken::new();
        let writer_task = TaskTracker::new();
        let watchers = Watchers::default();
        let fenced = CancellationToken::new();
        let (writer, task) = Writer::new(
            &options,
            write_connection,
            closing.clone(),
            watchers.clone(),
            fenced.clone(),
        );
        writer_task.spawn(task.run());
        writer_task.close();
        Ok(Self {
            writer,
            watchers,
            writer_task,
            closing,
            reader,
            fenced,
            _owner: lock,
        })
    }

    /// Commits what is queued, refuses what comes later, and closes the database.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.closing.cancel();
        self.writer_task.wait().await;
        self.reader.close_by_ref().await.map_err(StoreError::Read)
    }

    /// Resolves once another gateway has taken the database: this one writes nothing more.
    pub async fn fenced(&self) {
        self.fenced.cancelled().await;
    }

    /// Whether the last commit succeeded and the database answers a read now.
    pub async fn check(&self) -> Result<(), StoreError> {
        if !self.writer.is_healthy() {
            return Err(StoreError::Unavailable);
        }
        self.reader
            .execute_unprepared("SELECT 1")
            .await
            .map_err(StoreError::Read)?;
        Ok(())
    }

    /// Stores a login: the vehicle (made if it is new) gets the next epoch and is online.
    pub fn log_in(&self, device_id: DeviceId, remote: SocketAddr, at: Timestamp) -> Ticket<Login> {
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
    ) -> Ticket<Written> {
        self.writer.submit(|reply| Intent::Session {
            session,
            at,
            write,
            reply,
        })
    }

    /// Stores when sessions were last heard; those that hold their vehicle no more are left out.
    pub fn write_heartbeats(&self, beats: Vec<(SessionKey, Timestamp)>) -> Ticket<()> {
        self.writer
            .submit(|reply| Intent::Heartbeats { beats, reply })
    }

    /// Sets those of `devices` offline that an earlier life of this process left online, and ends the
    /// commands that it had under way.
    pub fn end_lost(&self, devices: Vec<DeviceId>, at: Timestamp) -> Ticket<()> {
        self.writer
            .submit(|reply| Intent::EndLost { devices, at, reply })
    }

    /// Makes a vehicle before its first login; one that exists stays as it is.
    pub fn register(&self, device_id: DeviceId, at: Timestamp) -> Ticket<Registered> {
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
    ) -> Ticket<Vehicle> {
        self.writer.submit(|reply| Intent::StatusUpdate {
            device_id,
            at,
            state,
            reply,
        })
    }

    /// Forgets a vehicle and returns its last epoch; `None` if there is none. Its history is hidden
    /// at once and purged later.
    pub fn delete(&self, device_id: DeviceId, at: Timestamp) -> Ticket<Option<i64>> {
        self.writer.submit(|reply| Intent::Delete {
            device_id,
            at,
            reply,
        })
    }

    /// Stores a command, unless nothing is to come of it.
    pub fn submit(&self, command: NewCommand) -> Ticket<Submitted> {
        let command = Box::new(command);
        self.writer
            .submit(|reply| Intent::Submit { command, reply })
    }

    /// Makes a command the session's to write: at most once, and only in time.
    pub fn claim(&self, id: Uuid, session: SessionKey, at: Timestamp) -> Ticket<Claimed> {
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
        ending: Ending,
        at: Timestamp,
    ) -> Ticket<Option<Command>> {
        self.writer.submit(|reply| Intent::Finish {
            device_id,
            id,
            ending,
            at,
            reply,
        })
    }

    /// Resolves when a command comes to its end from now on.
    pub fn watch(&self, id: Uuid) -> Watch {
        self.watchers.watch(id)
    }

    /// Deletes some old rows and says how many: 0 means that there are no more.
    pub fn purge(&self, step: Purge) -> Ticket<u64> {
        self.writer.submit(|reply| Intent::Purge { step, reply })
    }

    /// Notes that the history of a deleted life is purged.
    pub fn mark_forgotten(&self, device_id: DeviceId, through: Timestamp) -> Ticket<()> {
        self.writer.submit(|reply| Intent::Forgotten {
            device_id,
            through,
            reply,
        })
    }
}
