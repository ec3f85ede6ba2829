//! The pool of connections that read from a server.
//!
//! A connection may lead to a server that is behind: after a switchover the old primary keeps its connections, and a
//! node of a cluster may trail the others. So before a connection is used, it has to show the batch that this instance
//! has committed last; one that does not is closed, and the next is made through whatever balancer is in between.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sea_orm::{
    DatabaseConnection, SqlxError, SqlxMySqlConnector, SqlxPostgresConnector,
    sqlx::{Connection, Database, MySql, Postgres, pool::PoolOptions},
};
use tokio::time::timeout;

use super::{
    server_options::ServerOptions,
    server_session::{ServerSession, SessionUse},
};
use crate::{domain::IncarnationId, log_throttle::LogThrottle};

/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to answer before it is used, or after a read that was given up.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// The least time between two log lines about connections that are behind.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The batch that this instance has committed last. Written by the writer, read before each read.
#[derive(Debug, Clone)]
pub(in crate::store) struct CommittedBatch(Arc<Mutex<(IncarnationId, i64)>>);

impl CommittedBatch {
    /// An incarnation that has begun and committed nothing yet.
    pub(in crate::store) fn none_of(incarnation: IncarnationId) -> Self {
        Self(Arc::new(Mutex::new((incarnation, 0))))
    }

    pub(in crate::store) fn set(&self, incarnation: IncarnationId, number: i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = (incarnation, number);
    }

    fn get(&self) -> (IncarnationId, i64) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a pool of at most `connections`, which connect when they are needed. With `committed` they are used only while
/// they are not behind it.
pub(super) fn pool(
    options: ServerOptions,
    connections: u32,
    committed: Option<CommittedBatch>,
) -> DatabaseConnection {
    match options {
        ServerOptions::MySql(options) => {
            let pool = pool_options::<MySql>(connections, committed);
            SqlxMySqlConnector::from_sqlx_mysql_pool(pool.connect_lazy_with(*options))
        }
        ServerOptions::Postgres(options) => {
            let pool = pool_options::<Postgres>(connections, committed);
            SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(*options))
        }
    }
}

fn pool_options<DB: Database>(
    connections: u32,
    committed: Option<CommittedBatch>,
) -> PoolOptions<DB>
where
    DB::Connection: ServerSession,
{
    let check = Arc::new(CurrencyCheck {
        committed,
        log: LogThrottle::every(LOG_INTERVAL),
    });
    let at_connect = Arc::clone(&check);
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The check before a connection is used takes the place of the ping.
        .test_before_acquire(false)
        .after_connect(move |connection: &mut DB::Connection, _| {
            let check = Arc::clone(&at_connect);
            Box::pin(async move {
                connection.set_up(SessionUse::Reading).await?;
                if check.passes(connection).await? {
                    Ok(())
                } else {
                    Err(SqlxError::Protocol(
                        "the database server is behind".to_owned(),
                    ))
                }
            })
        })
        .before_acquire(move |connection: &mut DB::Connection, _| {
            let check = Arc::clone(&check);
            Box::pin(async move { check.passes(connection).await })
        })
        // A read that its caller gave up hands its connection back, and the pool then waits for an answer on it without
        // end: a network that loses what is sent would take one connection after the other.
        .after_release(|connection: &mut DB::Connection, _| {
            Box::pin(async move { within(connection.ping()).await.map(|()| true) })
        })
}

/// Whether a connection leads to a server that has the last batch of this instance.
struct CurrencyCheck {
    committed: Option<CommittedBatch>,
    log: LogThrottle,
}

impl CurrencyCheck {
    /// Whether the connection may be used. Costs one round trip.
    async fn passes(&self, connection: &mut impl ServerSession) -> Result<bool, SqlxError> {
        let Some(committed) = &self.committed else {
            return Ok(true);
        };
        let (incarnation, number) = committed.get();
        let sql = format!("SELECT batch FROM instances WHERE id = '{incarnation}'");
        let stored = within(connection.number(sql)).await?;
        let is_current = stored.is_some_and(|stored| stored >= number);
        if !is_current && let Some(connections) = self.log.admit() {
            tracing::warn!(
                connections,
                committed = number,
                stored,
                "a database connection for reading leads to a server that is behind; connecting anew"
            );
        }
        Ok(is_current)
    }
}

/// Waits for an answer for at most [`ANSWER_TIMEOUT`].
async fn within<T>(answer: impl Future<Output = Result<T, SqlxError>>) -> Result<T, SqlxError> {
    match timeout(ANSWER_TIMEOUT, answer).await {
        Ok(answered) => answered,
        Err(_elapsed) => Err(SqlxError::PoolTimedOut),
    }
}
