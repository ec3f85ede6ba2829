//! A database server, which other instances may use as well: `MySQL`, `MariaDB`, `PostgreSQL`.

use std::{str::FromStr, time::Duration};

use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr,
    SqlxError, Statement,
    sqlx::{
        AssertSqlSafe, ConnectOptions as _, Connection, Executor, MySqlConnection, PgConnection,
        mysql::MySqlConnectOptions, postgres::PgConnectOptions,
    },
};
use tokio::time::timeout;
use vehicle_gateway_migrations::migrate;

use super::{
    DriverConnection,
    incarnation::{self, Incarnation, Succession},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection that returns to the pool may take to answer a ping. Its last read may have been given up.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// The settings of the writing connection on the `MySQL` family.
///
/// At READ COMMITTED, a batch reads what other instances committed before it locked a row. No transaction waits for a
/// lock, or is idle while it holds one, for longer than [`hold`]: an instance that hangs in the middle of a batch must
/// not block the others until they count as dead themselves.
///
/// By default the server keeps a lost connection, and its locks, for eight hours. (`MySQL` knows only `wait_timeout`;
/// it reads what follows `/*M!` as a comment, and `MariaDB` does not.) Without the strict mode a text that is too long
/// would be truncated, stored and acknowledged.
fn mysql_settings(lease: Duration) -> String {
    let seconds = hold(lease).as_secs();
    format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION innodb_lock_wait_timeout = {seconds} /*M!, SESSION idle_transaction_timeout = {seconds} */; \
         SET SESSION wait_timeout = {}; \
         SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')",
        // Between two batches the connection is idle for up to a quarter of the lease.
        (lease / 2).as_secs().max(2)
    )
}

/// The settings of the writing connection on `PostgreSQL`, for the reasons at [`mysql_settings`]. With
/// `synchronous_commit`, what was acknowledged survives a crash of the server, whatever its default is.
fn postgres_settings(lease: Duration) -> String {
    let seconds = hold(lease).as_secs();
    format!(
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET lock_timeout = '{seconds}s'; \
         SET idle_in_transaction_session_timeout = '{seconds}s'; \
         SET statement_timeout = '10s'; \
         SET synchronous_commit = on"
    )
}

/// How long a transaction may wait for a lock, or be idle while it holds one: a quarter of the lease, in whole seconds
/// from 1 to 5.
fn hold(lease: Duration) -> Duration {
    Duration::from_secs((lease / 4).as_secs().clamp(1, 5))
}

/// How to connect for writing.
#[derive(Debug)]
pub(super) struct ServerTarget {
    pub(super) url: String,
    pub(super) lease: Duration,
}

impl ServerTarget {
    pub(super) async fn connect(&self) -> Result<DriverConnection, DbErr> {
        let connecting = async {
            if self.url.starts_with("mysql:") {
                let options = MySqlConnectOptions::from_str(&self.url)?;
                let mut connection = options.disable_statement_logging().connect().await?;
                connection
                    .execute(AssertSqlSafe(mysql_settings(self.lease)))
                    .await?;
                Ok(DriverConnection::from(connection))
            } else {
                let options = PgConnectOptions::from_str(&self.url)?;
                let mut connection = options.disable_statement_logging().connect().await?;
                connection
                    .execute(AssertSqlSafe(postgres_settings(self.lease)))
                    .await?;
                Ok(DriverConnection::from(connection))
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected
            .unwrap_or(Err(SqlxError::PoolTimedOut))
            .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
    }
}

pub(super) fn reader(url: &str, readers: u32) -> ConnectOptions {
    let mut options = options(url, readers);
    // A read that its caller gave up returns its connection to the pool, which then waits for the answer without a
    // limit: a network that loses packets would take one connection after the other. So each connection that returns
    // has to answer a ping in time.
    options
        .map_sqlx_mysql_pool_opts(|pool| {
            pool.after_release(|connection, _| Box::pin(answers(connection)))
        })
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.after_release(|connection, _| Box::pin(answers(connection)))
        });
    options
}

/// Whether a connection still answers. If it does not, the error makes the pool drop it.
async fn answers(connection: &mut impl Connection) -> Result<bool, SqlxError> {
    match timeout(RELEASE_TIMEOUT, connection.ping()).await {
        Ok(answered) => answered.map(|()| true),
        Err(_elapsed) => Err(SqlxError::PoolTimedOut),
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(0)
        .connect_timeout(CONNECT_TIMEOUT)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .sqlx_logging(false);
    options
}

/// Brings the schema up to date, however long it takes, and begins the incarnation `own`, if there is one. One gateway
/// at a time does this on a database.
pub(super) async fn prepare(url: &str, own: Option<&Incarnation>) -> Result<(), DbErr> {
    try_to_connect(url).await?;
    let db = Database::connect(options(url, 1)).await?;
    take_turn(&db).await?;
    migrate(&db).await?;
    if let Some(own) = own {
        incarnation::begin(&db, own).await?;
    }
    // The turn ends with the connection.
    db.close().await
}

/// Begins the next incarnation after the last one was declared dead.
pub(super) async fn begin_again(url: &str, next: &Incarnation) -> Result<Succession, DbErr> {
    let db = Database::connect(options(url, 1)).await?;
    let begun = match take_turn(&db).await {
        Ok(()) => incarnation::succeed(&db, next).await,
        Err(error) => Err(error),
    };
    db.close().await?;
    begun
}

/// The key of `PostgreSQL`'s advisory lock that a start takes. The number is arbitrary, and the same in every version.
const START_LOCK: i64 = 7_238_943_117;
/// How long a start waits for others that start, or change the schema, at the same time.
const TURN_TIMEOUT: Duration = Duration::from_mins(10);

/// Takes the start lock of this database, which ends with the connection. Waits for it for at most [`TURN_TIMEOUT`].
async fn take_turn(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        let seconds = TURN_TIMEOUT.as_secs();
        // Without the first setting, the server sends a notice for each table that exists already.
        let lock = format!(
            "SET client_min_messages = warning; SET lock_timeout = '{seconds}s'; \
             SELECT pg_advisory_lock({START_LOCK}); SET lock_timeout = 0"
        );
        db.execute_unprepared(&lock).await?;
        return Ok(());
    }
    // The name of a lock is global to the server, so it contains a hash of the name of the database. It may have 64
    // characters.
    let lock = Statement::from_sql_and_values(
        DbBackend::MySql,
        "SELECT GET_LOCK(CONCAT('vehicle-gateway.', SHA1(DATABASE())), ?)",
        [TURN_TIMEOUT.as_secs().into()],
    );
    let row = db.query_one_raw(lock).await?;
    let taken: Option<i64> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    if taken == Some(1) {
        Ok(())
    } else {
        Err(DbErr::Custom(format!(
            "another gateway has been starting on this database for {TURN_TIMEOUT:?}"
        )))
    }
}

/// Connects once, to get the reason if that fails: a pool retries until its time limit, and then only reports a
/// time-out.
async fn try_to_connect(url: &str) -> Result<(), DbErr> {
    let connecting = async {
        if url.starts_with("mysql:") {
            MySqlConnection::connect(url).await?.close().await
        } else {
            PgConnection::connect(url).await?.close().await
        }
    };
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    match connected {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(DbErr::Conn(RuntimeErr::SqlxError(error.into()))),
        Err(_elapsed) => Err(DbErr::Custom(format!(
            "no answer within {CONNECT_TIMEOUT:?}"
        ))),
    }
}
