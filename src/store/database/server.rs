//! A database server, which other instances may use as well: `MySQL`, `MariaDB`, `PostgreSQL`.

use std::{fmt::Write, time::Duration};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqlxError, Statement,
    sqlx::{ConnectOptions as _, Connection, postgres::PgConnectOptions},
};
use sha1::{Digest, Sha1};
use tokio::time::timeout;
use vehicle_gateway_migrations::migrate;

use super::{
    DriverConnection, connection_error,
    incarnation::{self, Incarnation, Succession},
    reader::is_pool_timeout,
    reader_pool::{CurrencyCheck, pool, try_to_connect},
    server_options::ServerOptions,
    server_session::{ServerSession, SessionUse},
    too_late,
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How to connect for writing.
#[derive(Debug)]
pub(super) struct ServerTarget {
    pub(super) options: ServerOptions,
    pub(super) lease: Duration,
}

impl ServerTarget {
    pub(super) async fn connect(&self) -> Result<DriverConnection, DbErr> {
        let purpose = SessionUse::Writing(self.lease);
        let connecting = async {
            match &self.options {
                ServerOptions::MySql(options) => {
                    let mut connection = options.connect().await?;
                    connection.set_up(purpose).await?;
                    Ok(DriverConnection::from(connection))
                }
                ServerOptions::Postgres(options) => {
                    let mut connection = options.connect().await?;
                    connection.set_up(purpose).await?;
                    Ok(DriverConnection::from(connection))
                }
            }
        };
        let connected = timeout(CONNECT_TIMEOUT, connecting).await;
        connected
            .unwrap_or_else(|_elapsed| Err(too_late("no connection", CONNECT_TIMEOUT)))
            .map_err(connection_error)
    }
}

/// Brings the schema up to date, however long it takes, and begins the incarnation `own`, if there is one. One gateway
/// at a time does this on a database.
pub(super) async fn prepare(
    options: &ServerOptions,
    own: Option<&Incarnation>,
) -> Result<(), DbErr> {
    let check = CurrencyCheck::new(None);
    try_to_connect(options, &check, CONNECT_TIMEOUT).await?;
    if let ServerOptions::Postgres(options) = options {
        require_own_sessions(options).await?;
    }
    let db = pool(options.clone(), 1, &check);
    let preparing = async {
        take_turn(&db).await?;
        migrate(&db).await?;
        if let Some(own) = own {
            incarnation::begin(&db, own).await?;
        }
        Ok(())
    };
    if let Err(error) = preparing.await {
        return Err(explained(error, options, &check).await);
    }
    // The turn ends with the connection.
    db.close().await
}

/// Replaces the time-out of a pool by the reason why there is no connection, if there still is none.
async fn explained(error: DbErr, options: &ServerOptions, check: &CurrencyCheck) -> DbErr {
    if !is_pool_timeout(&error) {
        return error;
    }
    let reason = try_to_connect(options, check, CONNECT_TIMEOUT).await;
    reason.err().unwrap_or(error)
}

/// Fails if two connections share a session of the server, as they may behind a pooler that hands out sessions for a
/// transaction: then neither settings nor the start lock nor prepared statements belong to a connection.
async fn require_own_sessions(options: &PgConnectOptions) -> Result<(), DbErr> {
    // A lock that nobody else takes: a session gets it again, and another session does not.
    let lock = format!(
        "SELECT CAST(pg_try_advisory_lock({}) AS INT)::BIGINT",
        fastrand::i64(..)
    );
    let checking = async {
        let mut one = options.connect().await?;
        let mut other = options.connect().await?;
        one.number(lock.clone()).await?;
        let is_shared = other.number(lock).await? == Some(1);
        one.close().await?;
        other.close().await?;
        Ok(is_shared)
    };
    let checked = timeout(CONNECT_TIMEOUT, checking).await;
    let is_shared = checked
        .unwrap_or_else(|_elapsed| Err(too_late("no answer", CONNECT_TIMEOUT)))
        .map_err(connection_error)?;
    if is_shared {
        return Err(connection_error(SqlxError::Configuration(
            "a connection pooler in transaction or statement mode is in between, and the gateway needs sessions of its \
             own: use its session mode (pool_mode = session of PgBouncer), or connect to the server itself"
                .into(),
        )));
    }
    Ok(())
}

/// Begins the next incarnation after the last one was declared dead.
pub(super) async fn begin_again(
    options: &ServerOptions,
    next: &Incarnation,
) -> Result<Succession, DbErr> {
    let check = CurrencyCheck::new(None);
    let db = pool(options.clone(), 1, &check);
    let begun = match take_turn(&db).await {
        Ok(()) => incarnation::succeed(&db, next).await,
        Err(error) => Err(explained(error, options, &check).await),
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
    let database = Statement::from_string(DbBackend::MySql, "SELECT DATABASE()");
    let row = db.query_one_raw(database).await?;
    let database: Option<String> = row.map(|row| row.try_get_by_index(0)).transpose()?;
    let lock = Statement::from_sql_and_values(
        DbBackend::MySql,
        "SELECT GET_LOCK(?, ?)",
        [
            lock_name(&database.unwrap_or_default()).into(),
            TURN_TIMEOUT.as_secs().into(),
        ],
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

/// The name of the start lock of a database on `MySQL` and `MariaDB`. Names of locks are global to the server and may
/// have 64 characters, so this one contains a hash of the database's name. It is the same in every version of the
/// gateway. The hash is made here because newer versions of `MySQL` have no `SHA1`.
fn lock_name(database: &str) -> String {
    let mut name = "vehicle-gateway.".to_owned();
    for byte in Sha1::digest(database) {
        // Writing to a string cannot fail.
        let _written = write!(name, "{byte:02x}");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_lock_has_the_name_that_sha1_of_the_server_gave() {
        assert_eq!(
            lock_name("fleet"),
            "vehicle-gateway.f35f940f055fcd1badde7e5fecb2531e079eaa52"
        );
    }
}
