//! The system of record: SQL behind domain types. Rows never leave this module.
//!
//! Every change of a table is a write request. Requests wait in a queue for the one task that writes: it applies a
//! batch of them as one transaction, by the rules of `crate::state`, and replies to each after the commit
//! ([`PendingWrite`]). Reads go to connections of their own.
//!
//! `requests` has one file for each kind of request, `writer` the queue and the task, `batch` the transaction, `tables`
//! the SQL of each table, `webhooks` that of the tables of webhooks, `entities` the rows, and `database` the
//! connections.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use sea_orm::ConnectionTrait;
use tokio::{
    sync::{Notify, mpsc, watch},
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use uuid::Uuid;

use crate::{
    domain::{DeviceId, IncarnationId, Timestamp},
    supervision::essential,
};

mod batch;
mod clock;
mod command_watch;
mod commit_health;
mod commit_wait;
mod database;
mod disk_space;
mod entities;
mod error;
mod pending_write;
mod queued_deadlines;
mod requests;
mod statements;
mod tables;
mod webhooks;
mod write_request;
mod writer;

pub use crate::state::{
    Claimed, CommandTransition, Eviction, IdempotencyKey, KEY_LIFETIME, Login, LostSessions,
    NewCommand, Registered, SessionWrite, Submitted, Written,
};
pub use command_watch::CommandWatch;
pub use database::{DatabaseAddress, migrate};
pub use error::{OpenError, StoreError};
pub use pending_write::PendingWrite;
pub use requests::{DatabaseUse, KeyRotation, Purge};
pub use tables::{
    AuditPage, CommandPage, DebugBlobPiece, HistoryPage, Position,
    instances::{Membership, Peer, StalledPeer},
};
pub use webhooks::{
    AttemptRecord, CatchUp, ClaimLimit, ClaimedKey, ClaimedMessage, DueEndpoint, DueLimits,
    Endpoint, EndpointPatch, EndpointState, FailureLimits, FinishedAttempt, MessagePage,
    NewEndpoint, QueueKey, RetryProgress, RetryStep, SecretText, StoredMessage, Surplus,
};

use clock::Clock;
use command_watch::CommandWatchers;
use commit_health::log_stalls;
use database::{FileLock, Incarnation, Opened, Reader};
use disk_space::LastReading;
use queued_deadlines::QueuedDeadlines;
use writer::{WriteQueue, WriterSignals};

/// How to open the store.
#[derive(Debug, Clone)]
pub struct StoreOptions {
    /// Where the database is.
    pub database: DatabaseAddress,
    /// Connections for reading.
    pub readers: u32,
    /// The id of the first incarnation of this instance: the row of a vehicle names the incarnation that holds its
    /// session.
    pub incarnation: IncarnationId,
    /// The name of this instance, which all its incarnations share.
    pub instance_name: String,
    /// Bytes that the waiting write requests may take in total.
    pub queue_bytes: usize,
    /// How long after its submission a write request may wait and be retried before it fails with
    /// [`StoreError::Unavailable`].
    pub commit_timeout: Duration,
    /// How long this instance may commit nothing before another may declare it dead.
    pub lease: Duration,
}

const NO_ANSWER: &str = "the database does not answer a read";
/// Commits whose evictions may wait for the receiver of [`Store::take_evictions`]. Those of later commits are dropped;
/// their instances find out by reconciling.
const EVICTIONS: usize = 1_024;

/// The open store.
#[derive(Debug)]
pub struct Store {
    writes: WriteQueue,
    watchers: CommandWatchers,
    queued: QueuedDeadlines,
    writer_task: TaskTracker,
    closing: CancellationToken,
    reader: Reader,
    clock: Clock,
    commit_timeout: Duration,
    incarnation: watch::Receiver<IncarnationId>,
    fenced: CancellationToken,
    evictions: Mutex<Option<mpsc::Receiver<Vec<Eviction>>>>,
    webhooks: Arc<Notify>,
    lost_batches: Arc<AtomicU64>,
    file_lock: Option<FileLock>,
    free_disk: LastReading,
}

impl Store {
    /// Opens the database, brings its schema up to date and starts the writer. A file is locked for this process; on a
    /// server the incarnation begins.
    pub async fn open(options: StoreOptions) -> Result<Self, OpenError> {
        let incarnation = Incarnation {
            id: options.incarnation,
            name: options.instance_name.clone(),
        };
        let Opened {
            write_connection,
            reader,
            lock,
            clock,
            committed,
        } = database::open(
            &options.database,
            options.readers,
            &incarnation,
            options.lease,
        )
        .await?;
        let closing = CancellationToken::new();
        let writer_task = TaskTracker::new();
        let watchers = CommandWatchers::default();
        let queued = QueuedDeadlines::default();
        let fenced = CancellationToken::new();
        let (set_incarnation, incarnation) = watch::channel(options.incarnation);
        let (publish_evictions, evictions) = mpsc::channel(EVICTIONS);
        let webhooks = Arc::new(Notify::new());
        let lost_batches = Arc::new(AtomicU64::new(0));
        let signals = WriterSignals {
            is_shared: lock.is_none(),
            clock: clock.clone(),
            closing: closing.clone(),
            watchers: watchers.clone(),
            queued: queued.clone(),
            incarnation: set_incarnation,
            fenced: fenced.clone(),
            evictions: publish_evictions,
            committed,
            lost_batches: Arc::clone(&lost_batches),
            webhooks: Arc::clone(&webhooks),
        };
        let (writes, task) = writer::new(&options, write_connection, signals);
        writer_task.spawn(essential("writer", task.run()));
        let stalls = log_stalls(writes.health().clone(), closing.clone());
        writer_task.spawn(essential("commit health", stalls));
        writer_task.close();
        Ok(Self {
            writes,
            watchers,
            queued,
            writer_task,
            closing,
            reader,
            clock,
            commit_timeout: options.commit_timeout,
            incarnation,
            fenced,
            evictions: Mutex::new(Some(evictions)),
            webhooks,
            lost_batches,
            file_lock: lock,
            free_disk: LastReading::default(),
        })
    }

    /// Commits what is queued, refuses what comes later, and closes the database.
    pub async fn close(&self) -> Result<(), StoreError> {
        self.closing.cancel();
        self.writer_task.wait().await;
        self.reader.close().await.map_err(StoreError::Read)
    }

    /// Resolves once another gateway has been started under the name of this instance, which writes nothing from then
    /// on.
    pub async fn fenced(&self) {
        self.fenced.cancelled().await;
    }

    /// Whether other instances may use this database: true on a server, false on a file.
    #[must_use]
    pub fn is_shared(&self) -> bool {
        self.file_lock.is_none()
    }

    /// The id of the current incarnation. It changes after other instances have declared this one dead: the sessions of
    /// the previous incarnation are lost then.
    #[must_use]
    pub fn incarnation(&self) -> &watch::Receiver<IncarnationId> {
        &self.incarnation
    }

    /// Returns the receiver of evictions: one list for each commit of this instance that ended sessions of others.
    /// `None` from the second call on.
    pub fn take_evictions(&self) -> Option<mpsc::Receiver<Vec<Eviction>>> {
        let mut evictions = self
            .evictions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        evictions.take()
    }

    /// How many batches the database has lost after it had acknowledged them, since the start: after a fail-over to a
    /// server that had not got them.
    #[must_use]
    pub fn lost_batches(&self) -> u64 {
        self.lost_batches.load(Ordering::Relaxed)
    }

    /// The time, by the clock that all instances on this database share.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// The time since the last commit, or since the store was opened. On a shared database a commit is due every
    /// quarter of the lease.
    #[must_use]
    pub fn since_commit(&self) -> Duration {
        self.writes.health().since_commit()
    }

    /// Whether the database commits what is submitted, as far as is known.
    #[must_use]
    pub fn is_committing(&self) -> bool {
        self.writes.health().problem().is_none()
    }

    /// Checks that the database commits what is submitted, and that it answers a read within `store.commit_timeout`.
    /// The error says why not, for people.
    pub async fn check(&self) -> Result<(), String> {
        if let Some(problem) = self.writes.health().problem() {
            return Err(problem.to_string());
        }
        let read = self.reader.execute_unprepared("SELECT 1");
        let error = match timeout(self.commit_timeout, read).await {
            Ok(Ok(_)) => return Ok(()),
            Ok(Err(error)) => Some(error),
            Err(_elapsed) => self.reader.why_no_connection().await,
        };
        Err(error.map_or_else(
            || NO_ANSWER.to_owned(),
            |error| format!("the database cannot be read: {error}"),
        ))
    }

    /// Watches a command from now on: the watch resolves after the commit that ends the command.
    pub fn watch_command(&self, id: Uuid) -> CommandWatch {
        self.watchers.watch(id)
    }

    /// Takes out at most `limit` of the commands that this instance queued and whose time is over, by a monotonic
    /// clock. Whoever takes them out ends them, or puts them back.
    #[must_use]
    pub fn take_overdue_queued(&self, limit: usize) -> Vec<(DeviceId, Uuid)> {
        self.queued.take_overdue(limit)
    }

    /// Puts a command back that was taken out as overdue and could not be ended.
    pub fn put_back_queued(&self, device_id: DeviceId, id: Uuid) {
        self.queued.put_back(device_id, id);
    }
}
