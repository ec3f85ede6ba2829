//! The connection that batches are written on, owned by the writer and not by a pool.
//!
//! A pool pings a connection each time it comes back, which costs a round trip a batch. Beyond that, the `SQLite`
//! driver runs each call on a thread of its own: two context switches a statement. So statements whose result decides
//! nothing are *deferred*: they go with the next statement that has to be answered, at the latest with COMMIT, in one
//! call. On `SQLite` a batch of reports of known vehicles is one call, from BEGIN to COMMIT; on a server BEGIN shares a
//! round trip with the renewal of the incarnation.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::StreamExt;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, ExecResult, QueryResult, RuntimeErr, SqlxError, Statement,
    prelude::async_trait::async_trait,
    sea_query::Value,
    sqlx::{
        AssertSqlSafe, Connection, Database, Executor, IntoArguments, MySqlConnection,
        PgConnection, SqliteConnection, query_with, raw_sql,
    },
};
use sea_query_sqlx::SqlxValues;
use tokio::time::timeout;

use crate::log_throttle::LogThrottle;

/// Values of a statement up to which it shares a call with others. The driver keeps one prepared text for each
/// combination of statements, and there must not be too many of them.
const JOINED_VALUES: usize = 128;

/// How long a connection to a server may take to close: one whose server is unreachable does not close until the
/// operating system times it out.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// The writer makes a new connection for each attempt to commit while the database is away.
static CLOSED_BADLY: LogThrottle = LogThrottle::every(Duration::from_mins(1), |connections| {
    tracing::warn!(connections, "a database connection did not close well");
});

/// A connection of the driver.
enum Driver {
    Sqlite(SqliteConnection),
    MySql(MySqlConnection),
    Postgres(PgConnection),
}

/// A connection without a pool. After an error it must be closed: see [`Self::close`].
pub(in crate::store) struct DriverConnection {
    backend: DbBackend,
    /// Never contended: the writer does one thing at a time.
    driver: tokio::sync::Mutex<Driver>,
    /// Statements that go with the next call, in order.
    deferred: Mutex<Vec<Statement>>,
}

/// The connection while the transaction of a batch is open on it.
pub(in crate::store) type Transaction = DriverConnection;

impl std::fmt::Debug for DriverConnection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DriverConnection")
            .field("backend", &self.backend)
            .finish_non_exhaustive()
    }
}

impl From<SqliteConnection> for DriverConnection {
    fn from(connection: SqliteConnection) -> Self {
        Self::new(DbBackend::Sqlite, Driver::Sqlite(connection))
    }
}

impl From<MySqlConnection> for DriverConnection {
    fn from(connection: MySqlConnection) -> Self {
        Self::new(DbBackend::MySql, Driver::MySql(connection))
    }
}

impl From<PgConnection> for DriverConnection {
    fn from(connection: PgConnection) -> Self {
        Self::new(DbBackend::Postgres, Driver::Postgres(connection))
    }
}

impl DriverConnection {
    fn new(backend: DbBackend, driver: Driver) -> Self {
        Self {
            backend,
            driver: tokio::sync::Mutex::new(driver),
            deferred: Mutex::default(),
        }
    }

    /// Begins a transaction that ends with [`Self::commit`], or with the connection.
    pub(in crate::store) async fn begin(&self) -> Result<(), DbErr> {
        let begin = match self.backend {
            // `BEGIN DEFERRED`, the default, takes the write lock at the first write, and fails there if another
            // connection has written since the transaction's first read.
            DbBackend::Sqlite => "BEGIN IMMEDIATE",
            _ => "BEGIN",
        };
        self.defer(Statement::from_string(self.backend, begin))
            .await
    }

    /// Commits, with the statements that are still deferred. If the call fails, on a server it is unknown whether the
    /// transaction is committed.
    pub(in crate::store) async fn commit(&self) -> Result<(), DbErr> {
        let commit = Statement::from_string(self.backend, "COMMIT");
        self.execute_raw(commit).await.map(drop)
    }

    /// Closes the connection, and with it a transaction that may still be open: after an error it is unknown how much
    /// of the transaction is left. `SQLite` rolls it back by itself when it cannot write, and on the `MySQL` family a
    /// COMMIT after a lock time-out would keep a part of the batch.
    pub(super) async fn close(self) {
        let closed = match self.driver.into_inner() {
            Driver::Sqlite(connection) => Ok(connection.close().await),
            Driver::MySql(connection) => timeout(CLOSE_TIMEOUT, connection.close()).await,
            Driver::Postgres(connection) => timeout(CLOSE_TIMEOUT, connection.close()).await,
        };
        if let Ok(Err(error)) = closed
            && let Some(connections) = CLOSED_BADLY.admit()
        {
            tracing::warn!(%error, connections, "a database connection did not close well");
        }
    }

    /// Runs a statement of which only a failure matters, together with the next call if it can share one, else at once.
    /// On `SQLite` a statement of at most [`JOINED_VALUES`] values can; on a server only text without values, which the
    /// protocol can bundle. If the statement fails, the call that it shares fails.
    pub(in crate::store) async fn defer(&self, statement: Statement) -> Result<(), DbErr> {
        if !self.may_share_a_call(&statement) {
            return self.execute_raw(statement).await.map(drop);
        }
        self.lock_deferred().push(statement);
        Ok(())
    }

    fn may_share_a_call(&self, statement: &Statement) -> bool {
        match self.backend {
            DbBackend::Sqlite => values_of(statement) <= JOINED_VALUES,
            _ => statement.values.is_none(),
        }
    }

    fn lock_deferred(&self) -> std::sync::MutexGuard<'_, Vec<Statement>> {
        self.deferred.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one text of several statements; their values follow each other as the statements do.
    fn join(&self, mut statements: Vec<Statement>) -> Statement {
        if statements.len() == 1
            && let Some(only) = statements.pop()
        {
            return only;
        }
        let mut text = String::with_capacity(statements.iter().map(|one| one.sql.len() + 1).sum());
        let mut values: Vec<Value> = Vec::with_capacity(statements.iter().map(values_of).sum());
        for statement in statements {
            text.push_str(&statement.sql);
            text.push(';');
            values.extend(statement.values.into_iter().flatten());
        }
        match self.backend {
            // With a list of values, even an empty one: without a list the driver would not keep the text prepared.
            DbBackend::Sqlite => Statement::from_sql_and_values(self.backend, text, values),
            _ => Statement::from_string(self.backend, text),
        }
    }

    /// Runs what is deferred and then `statement`, and returns the result of `statement`.
    async fn run(&self, statement: Statement) -> Result<(ExecResult, Vec<QueryResult>), SqlxError> {
        let mut deferred = std::mem::take(&mut *self.lock_deferred());
        let mut driver = self.driver.lock().await;
        if !self.may_share_a_call(&statement) && !deferred.is_empty() {
            driver.run(self.join(deferred)).await?;
            deferred = Vec::new();
        }
        deferred.push(statement);
        driver.run(self.join(deferred)).await
    }
}

impl Driver {
    async fn run(
        &mut self,
        statement: Statement,
    ) -> Result<(ExecResult, Vec<QueryResult>), SqlxError> {
        match self {
            Self::Sqlite(connection) => run::<sea_orm::sqlx::Sqlite>(connection, statement).await,
            Self::MySql(connection) => run::<sea_orm::sqlx::MySql>(connection, statement).await,
            Self::Postgres(connection) => {
                run::<sea_orm::sqlx::Postgres>(connection, statement).await
            }
        }
    }
}

/// One call: the rows of all its statements, and what the last one changed.
async fn run<DB: Database>(
    connection: &mut DB::Connection,
    statement: Statement,
) -> Result<(ExecResult, Vec<QueryResult>), SqlxError>
where
    for<'c> &'c mut DB::Connection: Executor<'c, Database = DB>,
    SqlxValues: IntoArguments<DB>,
    DB::Row: Into<QueryResult>,
    DB::QueryResult: Into<ExecResult>,
{
    let Statement { sql, values, .. } = statement;
    let sql = AssertSqlSafe(sql);
    let mut results = match values {
        Some(values) => connection.fetch_many(query_with(sql, SqlxValues(values))),
        // As text: the `MySQL` family prepares no BEGIN.
        None => connection.fetch_many(raw_sql(sql)),
    };
    let mut done = DB::QueryResult::default();
    let mut rows = Vec::new();
    while let Some(result) = results.next().await {
        match result? {
            sea_orm::sqlx::Either::Left(last) => done = last,
            sea_orm::sqlx::Either::Right(row) => rows.push(row.into()),
        }
    }
    Ok((done.into(), rows))
}

fn values_of(statement: &Statement) -> usize {
    statement.values.as_ref().map_or(0, |values| values.0.len())
}

#[async_trait]
impl ConnectionTrait for DriverConnection {
    fn get_database_backend(&self) -> DbBackend {
        self.backend
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        let ran = self.run(statement).await;
        ran.map(|(done, _)| done)
            .map_err(|error| DbErr::Exec(RuntimeErr::SqlxError(error.into())))
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.execute_raw(Statement::from_string(self.backend, sql))
            .await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        let rows = self.query_all_raw(statement).await?;
        Ok(rows.into_iter().next())
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        let ran = self.run(statement).await;
        ran.map(|(_, rows)| rows)
            .map_err(|error| DbErr::Query(RuntimeErr::SqlxError(error.into())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connection() -> DriverConnection {
        let connection = SqliteConnection::connect("sqlite::memory:").await.unwrap();
        let db = DriverConnection::from(connection);
        let table = "CREATE TABLE entries (number INTEGER UNIQUE, name TEXT)";
        db.execute_unprepared(table).await.unwrap();
        db
    }

    fn insert(number: i64, name: &str) -> Statement {
        Statement::from_sql_and_values(
            DbBackend::Sqlite,
            "INSERT INTO entries VALUES (?, ?)",
            [number.into(), name.into()],
        )
    }

    async fn names(db: &DriverConnection) -> Vec<String> {
        let select = "SELECT name FROM entries ORDER BY number";
        let rows = db
            .query_all_raw(Statement::from_string(DbBackend::Sqlite, select))
            .await
            .unwrap();
        let names = rows.iter().map(|row| row.try_get_by_index(0).unwrap());
        names.collect()
    }

    #[tokio::test]
    async fn deferred_statements_run_in_order_with_their_own_values() {
        let db = connection().await;
        db.begin().await.unwrap();
        db.defer(insert(2, "two")).await.unwrap();
        db.defer(insert(1, "one")).await.unwrap();
        assert_eq!(names(&db).await, ["one", "two"]);
        db.defer(insert(3, "three")).await.unwrap();
        db.commit().await.unwrap();
        assert_eq!(names(&db).await, ["one", "two", "three"]);
    }

    #[tokio::test]
    async fn a_deferred_statement_that_fails_fails_the_commit() {
        let db = connection().await;
        db.begin().await.unwrap();
        db.defer(insert(1, "one")).await.unwrap();
        db.defer(insert(1, "again")).await.unwrap();
        assert!(db.commit().await.is_err());
        db.execute_unprepared("ROLLBACK").await.unwrap();
        assert!(names(&db).await.is_empty());
    }

    #[tokio::test]
    async fn a_result_is_that_of_the_last_statement_of_a_call() {
        let db = connection().await;
        for number in [1, 2] {
            db.execute_raw(insert(number, "old")).await.unwrap();
        }
        db.defer(insert(3, "new")).await.unwrap();
        let update = "UPDATE entries SET name = 'x' WHERE name = 'old'";
        let updated = db.execute_unprepared(update).await.unwrap();
        assert_eq!(updated.rows_affected(), 2);
    }

    #[tokio::test]
    async fn a_large_statement_keeps_its_place_among_deferred_ones() {
        let db = connection().await;
        db.begin().await.unwrap();
        db.defer(insert(0, "first")).await.unwrap();
        let rows = JOINED_VALUES / 2 + 1;
        let text = format!(
            "INSERT INTO entries VALUES {}(?, ?)",
            "(?, ?),".repeat(rows - 1)
        );
        let values = (1..)
            .take(rows)
            .flat_map(|n: i64| [Value::from(n), Value::from("many")]);
        db.defer(Statement::from_sql_and_values(
            DbBackend::Sqlite,
            text,
            values,
        ))
        .await
        .unwrap();
        db.commit().await.unwrap();
        assert_eq!(names(&db).await.len(), rows + 1);
    }
}
