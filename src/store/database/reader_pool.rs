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
    DatabaseConnection, DbErr, SqlxError, SqlxMySqlConnector, SqlxPostgresConnector,
    sqlx::{ConnectOptions as _, Connection, Database, MySql, Postgres, pool::PoolOptions},
};
use tokio::time::timeout;

use super::{
    connection_error,
    server_options::ServerOptions,
    server_session::{ServerSession, SessionUse},
    too_late,
};
use crate::{domain::IncarnationId, log_throttle::LogThrottle};

/// How long a read waits for a free connection.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
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

/// Makes a pool of at most `connections`, which connect when they are needed and are used only while `check` passes.
pub(super) fn pool(
    options: ServerOptions,
    connections: u32,
    check: &Arc<CurrencyCheck>,
) -> DatabaseConnection {
    match options {
        ServerOptions::MySql(options) => {
            let pool = pool_options::<MySql>(connections, check);
            SqlxMySqlConnector::from_sqlx_mysql_pool(pool.connect_lazy_with(*options))
        }
        ServerOptions::Postgres(options) => {
            let pool = pool_options::<Postgres>(connections, check);
            SqlxPostgresConnector::from_sqlx_postgres_pool(pool.connect_lazy_with(*options))
        }
    }
}

fn pool_options<DB: Database>(connections: u32, check: &Arc<CurrencyCheck>) -> PoolOptions<DB>
where
    DB::Connection: ServerSession,
{
    let (at_connect, check) = (Arc::clone(check), Arc::clone(check));
    PoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // The check before a connection is used takes the place of the ping.
        .test_before_acquire(false)
        .after_connect(move |connection: &mut DB::Connection, _| {
            let check = Arc::clone(&at_connect);
            Box::pin(async move { check.admit(connection).await })
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

/// Makes one connection as a pool does, and closes it: a pool tries again and again until its time limit, and then says
/// only that it is over.
pub(super) async fn try_to_connect(
    options: &ServerOptions,
    check: &CurrencyCheck,
    time: Duration,
) -> Result<(), DbErr> {
    let connecting = async {
        match options {
            ServerOptions::MySql(options) => {
                let mut connection = options.connect().await?;
                check.admit(&mut connection).await?;
                connection.close().await
            }
            ServerOptions::Postgres(options) => {
                let mut connection = options.connect().await?;
                check.admit(&mut connection).await?;
                connection.close().await
            }
        }
    };
    let connected = timeout(time, connecting).await;
    connected
        .unwrap_or_else(|_elapsed| Err(too_late("no connection", time)))
        .map_err(connection_error)
}

static BEHIND: LogThrottle = LogThrottle::every(LOG_INTERVAL, |connections| {
    tracing::warn!(
        connections,
        "a database connection for reading leads to a server that is behind; connecting anew"
    );
});

/// Whether a connection leads to a server that has the last batch of this instance.
pub(super) struct CurrencyCheck {
    committed: Option<CommittedBatch>,
}

impl CurrencyCheck {
    /// A check that connections are not behind `committed`; without it every connection passes.
    pub(super) fn new(committed: Option<CommittedBatch>) -> Arc<Self> {
        Arc::new(Self { committed })
    }

    /// Sets a new connection up, and fails if it may not be used.
    async fn admit(&self, connection: &mut impl ServerSession) -> Result<(), SqlxError> {
        connection.set_up(SessionUse::Reading).await?;
        if self.passes(connection).await? {
            Ok(())
        } else {
            Err(SqlxError::Protocol(
                "the database server is behind".to_owned(),
            ))
        }
    }

    /// Whether the connection may be used. Costs one round trip.
    async fn passes(&self, connection: &mut impl ServerSession) -> Result<bool, SqlxError> {
        let Some(committed) = &self.committed else {
            return Ok(true);
        };
        let (incarnation, number) = committed.get();
        let sql = format!("SELECT batch FROM instances WHERE id = '{incarnation}'");
        let stored = within(connection.number(sql)).await?;
        let is_current = stored.is_some_and(|stored| stored >= number);
        if !is_current && let Some(connections) = BEHIND.admit() {
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
        Err(_elapsed) => Err(too_late("no answer", ANSWER_TIMEOUT)),
    }
}
