//! A database server that others can reach: `MySQL`, `MariaDB`, `PostgreSQL`.

use std::time::Duration;

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectOptions, ConnectionTrait, Database, DatabaseConnection,
    DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect, RuntimeErr,
    SqlxError, Statement, TransactionTrait,
    sea_query::{Expr, ExprTrait},
    sqlx::{Connection, Executor, MySqlConnection, PgConnection},
};
use tokio::time::timeout;
use vehicle_gateway_migrations::{Migrator, MigratorTrait};

use super::{Life, WriteConnection};
use crate::store::entities::instance;

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a read waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to come to rest after a read that was given up.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Batches are written under row locks, which hide nothing that is committed. Nobody waits for a lock, or
/// holds one, for longer than a few seconds.
///
/// On the `MySQL` family a connection that is cut without a word would hold its locks for `wait_timeout`,
/// eight hours (`MySQL` itself has no other variable, and reads the half after `/*M!` as a comment), and
/// without the strict mode a text that is too long would be cut, stored, and thanked. On `PostgreSQL` what
/// was thanked survives a crash of the server, whatever its default is.
const MYSQL: &str = "\
    SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
    SET SESSION innodb_lock_wait_timeout = 5 /*M!, SESSION idle_transaction_timeout = 5 */; \
    SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_TRANS_TABLES')";
const POSTGRES: &str = "\
    SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL READ COMMITTED; \
    SET lock_timeout = '5s'; \
    SET idle_in_transaction_session_timeout = '5s'; \
    SET statement_timeout = '10s'; \
    SET synchronous_commit = on";

pub(super) fn write_connection(url: &str) -> WriteConnection {
    let mut options = options(url, 1);
    // By the pool and not once: it makes a new connection when one is idle, old, or found broken.
    options
        .map_sqlx_mysql_pool_opts(|pool| {
            pool.after_connect(|connection, _| Box::pin(told(connection.execute(MYSQL))))
        })
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.after_connect(|connection, _| Box::pin(told(connection.execute(POSTGRES))))
        });
    WriteConnection {
        options,
        current: None,
    }
}

async fn told<R>(
    settings: impl Future<Output = Result<R, SqlxError>> + Send,
) -> Result<(), SqlxError> {
    settings.await.map(|_done| ())
}

pub(super) fn reader(url: &str, readers: u32) -> ConnectOptions {
    let mut options = options(url, readers);
    // A read that its caller gave up hands its connection back, and the pool then waits for an answer on
    // it without end: a network that loses what is said would take one connection after the other.
    options
        .map_sqlx_mysql_pool_opts(|pool| {
            pool.after_release(|connection, _| Box::pin(answers(connection)))
        })
        .map_sqlx_postgres_pool_opts(|pool| {
            pool.after_release(|connection, _| Box::pin(answers(connection)))
        });
    options
}

/// Whether a connection still answers; else the pool drops it.
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

/// Brings the schema up to date, however long it takes, and makes this life the one that may write;
/// without a life, the schema only. One gateway at a time.
pub(super) async fn prepare(url: &str, life: Option<&Life<'_>>) -> Result<(), DbErr> {
    try_to_connect(url).await?;
    let db = Database::connect(options(url, 1)).await?;
    take_turn(&db).await?;
    Migrator::up(&db, None).await?;
    if let Some(life) = life {
        announce(&db, life).await?;
    }
    // The turn ends with the connection.
    db.close().await
}

/// How long a start waits for others that start, or change the schema, at the same time.
const TURN_TIMEOUT: Duration = Duration::from_mins(10);

/// Waits until nobody else prepares this database.
async fn take_turn(db: &DatabaseConnection) -> Result<(), DbErr> {
    if db.get_database_backend() == DbBackend::Postgres {
        let seconds = TURN_TIMEOUT.as_secs();
        // Without the first, every start says which tables exist.
        let lock = format!(
            "SET client_min_messages = warning; SET lock_timeout = '{seconds}s'; \
             SELECT pg_advisory_lock(7238943117); SET lock_timeout = 0"
        );
        db.execute_unprepared(&lock).await?;
        return Ok(());
    }
    // The name is the server's, not the database's, and may have 64 characters.
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

/// Connects once, for the reason if it fails: a pool tries again and again and says that it took too long.
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

/// Whoever could write before is dead from now on.
async fn announce(db: &DatabaseConnection, life: &Life<'_>) -> Result<(), DbErr> {
    use instance::Column as C;
    let transaction = db.begin().await?;
    // Those have noticed by now, or find no row: the same to them.
    instance::Entity::delete_many()
        .filter(C::State.eq(instance::DEAD))
        .exec(&transaction)
        .await?;
    instance::Entity::update_many()
        .col_expr(C::State, Expr::value(instance::DEAD))
        .filter(C::State.eq(instance::LIVE))
        .exec(&transaction)
        .await?;
    let row = instance::ActiveModel {
        id: Set(life.id.to_owned()),
        name: Set(life.name.to_owned()),
        state: Set(instance::LIVE.to_owned()),
        renewals: Set(0),
        batch: Set(0),
    };
    instance::Entity::insert(row)
        .exec_without_returning(&transaction)
        .await?;
    transaction.commit().await
}

/// Another gateway has taken the database: this one must not write any more.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Fenced;

/// The first thing in a batch: nothing of a life that is dead is committed.
pub(in crate::store) async fn renew(
    db: &DatabaseTransaction,
    instance_id: &str,
    batch: i64,
) -> Result<Result<(), Fenced>, DbErr> {
    use instance::Column as C;
    let renewed = instance::Entity::update_many()
        .col_expr(C::Renewals, Expr::col(C::Renewals).add(1))
        .col_expr(C::Batch, Expr::value(batch))
        .filter(C::Id.eq(instance_id))
        .filter(C::State.eq(instance::LIVE))
        .exec(db)
        .await?;
    Ok(if renewed.rows_affected == 1 {
        Ok(())
    } else {
        Err(Fenced)
    })
}

/// The number of the batch that this life committed last: tells whether one is stored whose COMMIT was not
/// answered. Waits for the lock of the row: a COMMIT that is still on its way, or that the server has not
/// done with, may yet succeed.
pub(in crate::store) async fn last_batch(
    db: &impl ConnectionTrait,
    instance_id: &str,
) -> Result<Option<i64>, DbErr> {
    instance::Entity::find_by_id(instance_id)
        .select_only()
        .column(instance::Column::Batch)
        .lock_exclusive()
        .into_tuple()
        .one(db)
        .await
}
