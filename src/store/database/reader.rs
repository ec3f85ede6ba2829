//! The connections that read, and why reads fail.
//!
//! A pool that cannot connect tries again for some seconds, and then says only that it timed out. So a read that has
//! waited in vain for a connection has one made without the pool, and gets the error of that.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sea_orm::{
    ConnAcquireErr, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, ExecResult, QueryResult,
    RuntimeErr, Statement, prelude::async_trait::async_trait,
};
use tokio::time::Instant;

use super::{
    reader_pool::{self, CommittedBatch, CurrencyCheck, try_to_connect},
    server_options::ServerOptions,
    sqlite,
};
use crate::{
    outage_reasons::{OutageReason, OutageReasons},
    store::error::is_unavailable,
};

/// How long a connection may take to be made that is to tell why there is none.
const ASK_TIMEOUT: Duration = Duration::from_secs(2);
/// How long its answer holds: as long as a read waits for a connection.
const ASK_AGAIN_AFTER: Duration = reader_pool::ACQUIRE_TIMEOUT;
/// How long reads must not fail for the outage to be over: while some fail and others do not, it goes on.
const QUIET: Duration = Duration::from_secs(10);

/// The connections that read.
#[derive(Debug)]
pub(in crate::store) struct Reader {
    pool: DatabaseConnection,
    /// `None` for a file.
    server: Option<Server>,
    outage: ReadOutage,
}

impl Reader {
    pub(super) fn of_file(pool: DatabaseConnection) -> Self {
        Self {
            pool,
            server: None,
            outage: ReadOutage::default(),
        }
    }

    /// At most `connections` to a server. With `committed` they are used only while they are not behind it.
    pub(super) fn of_server(
        options: ServerOptions,
        connections: u32,
        committed: Option<CommittedBatch>,
    ) -> Self {
        let check = CurrencyCheck::new(committed);
        Self {
            pool: reader_pool::pool(options.clone(), connections, &check),
            server: Some(Server {
                options,
                check,
                asked: tokio::sync::Mutex::default(),
            }),
            outage: ReadOutage::default(),
        }
    }

    /// The connections without the log of their failures.
    pub(super) fn pool(&self) -> &DatabaseConnection {
        &self.pool
    }

    /// Closes the connections.
    pub(in crate::store) async fn close(&self) -> Result<(), DbErr> {
        self.pool.close_by_ref().await
    }

    /// Why the server gives no connection; `None` if it does, and for a file.
    pub(in crate::store) async fn why_no_connection(&self) -> Option<DbErr> {
        self.server.as_ref()?.why_no_connection().await
    }

    /// Replaces the time-out of the pool by the reason.
    pub(super) async fn explained(&self, error: DbErr) -> DbErr {
        if !is_pool_timeout(&error) {
            return error;
        }
        if let Some(reason) = self.why_no_connection().await {
            return reason;
        }
        let waited = match self.server {
            Some(_) => reader_pool::ACQUIRE_TIMEOUT,
            None => sqlite::ACQUIRE_TIMEOUT,
        };
        DbErr::Conn(RuntimeErr::Internal(format!(
            "all connections for reading were in use for {waited:?}"
        )))
    }

    /// Notes the result of a read, and explains its error.
    async fn noted<T>(&self, read: Result<T, DbErr>) -> Result<T, DbErr> {
        let error = match read {
            Ok(answer) => {
                self.outage.note_answer();
                return Ok(answer);
            }
            Err(error) => self.explained(error).await,
        };
        if is_unavailable(&error) && !is_closed(&error) {
            self.outage.note_failure(&error);
        }
        Err(error)
    }
}

#[async_trait]
impl ConnectionTrait for Reader {
    fn get_database_backend(&self) -> DbBackend {
        self.pool.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.noted(self.pool.execute_raw(statement).await).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.noted(self.pool.execute_unprepared(sql).await).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.noted(self.pool.query_one_raw(statement).await).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.noted(self.pool.query_all_raw(statement).await).await
    }
}

/// How to connect to the server without the pool.
struct Server {
    options: ServerOptions,
    check: Arc<CurrencyCheck>,
    /// When a connection was last made, and why it failed. Held meanwhile, so that many reads that fail together make
    /// one.
    asked: tokio::sync::Mutex<Option<(Instant, Option<DbErr>)>>,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server").finish_non_exhaustive()
    }
}

impl Server {
    async fn why_no_connection(&self) -> Option<DbErr> {
        let mut asked = self.asked.lock().await;
        if let Some((at, answer)) = &*asked
            && at.elapsed() < ASK_AGAIN_AFTER
        {
            return answer.clone();
        }
        let connected = try_to_connect(&self.options, &self.check, ASK_TIMEOUT).await;
        let answer = connected.err();
        *asked = Some((Instant::now(), answer.clone()));
        answer
    }
}

/// Logs when reads begin to fail, for which reasons, and when they no longer do.
#[derive(Debug, Default)]
struct ReadOutage {
    is_going_on: AtomicBool,
    state: Mutex<ReadFailures>,
}

#[derive(Debug, Default)]
struct ReadFailures {
    last: Option<Instant>,
    reasons: OutageReasons,
}

impl ReadOutage {
    fn note_failure(&self, error: &DbErr) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.last = Some(Instant::now());
        let noted = state.reasons.note(&error.to_string());
        self.is_going_on.store(true, Ordering::Relaxed);
        drop(state);
        match noted {
            OutageReason::First => {
                tracing::warn!(%error, "the database cannot be read; what needs it fails until it can");
            }
            OutageReason::Another => tracing::warn!(%error, "the database still cannot be read"),
            OutageReason::Known => tracing::debug!(%error, "the database still cannot be read"),
        }
    }

    fn note_answer(&self) {
        if !self.is_going_on.load(Ordering::Relaxed) {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.last.is_some_and(|last| last.elapsed() < QUIET) {
            return;
        }
        let has_ended = self.is_going_on.swap(false, Ordering::Relaxed);
        state.reasons.end();
        drop(state);
        if has_ended {
            tracing::info!("the database can be read again");
        }
    }
}

/// Whether a pool had no connection to give in time.
pub(super) fn is_pool_timeout(error: &DbErr) -> bool {
    matches!(error, DbErr::ConnectionAcquire(ConnAcquireErr::Timeout))
}

/// Whether the pool is closed, as at the end of the process.
fn is_closed(error: &DbErr) -> bool {
    matches!(
        error,
        DbErr::ConnectionAcquire(ConnAcquireErr::ConnectionClosed)
    )
}
