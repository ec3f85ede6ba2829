//! Access to the database as another program: queries, changes, locks.

use std::{path::Path, time::Duration};

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement};
use tokio::runtime::Runtime;

use super::PATIENCE;

fn connect(url: &str) -> Result<(Runtime, DatabaseConnection), DbErr> {
    connect_within(url, PATIENCE)
}

fn connect_within(url: &str, time: Duration) -> Result<(Runtime, DatabaseConnection), DbErr> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut options = sea_orm::ConnectOptions::new(url);
    options
        .max_connections(1)
        .acquire_timeout(time)
        .sqlx_logging(false);
    let connection = runtime.block_on(Database::connect(options))?;
    Ok((runtime, connection))
}

/// Whether the database accepts connections.
pub(crate) fn is_reachable(url: &str) -> bool {
    connect(url).is_ok()
}

/// The one column that `sql` selects, as text; NULL is an empty string.
pub(crate) fn query(url: &str, sql: &str) -> Vec<String> {
    try_query(url, sql).unwrap()
}

/// Like [`query`], of a server that may not be there, or refuse.
pub(crate) fn try_query(url: &str, sql: &str) -> Result<Vec<String>, DbErr> {
    let (runtime, connection) = connect(url)?;
    let backend = connection.get_database_backend();
    let text = match backend {
        DbBackend::MySql => "CHAR",
        _ => "TEXT",
    };
    let sql = format!("WITH q(v) AS ({sql}) SELECT COALESCE(CAST(v AS {text}), '') AS v FROM q");
    let rows = runtime.block_on(connection.query_all_raw(Statement::from_string(backend, sql)))?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

/// Changes the database as another program.
pub(crate) fn change(url: &str, sql: &str) {
    let (runtime, connection) = connect(url).unwrap();
    runtime
        .block_on(async {
            if connection.get_database_backend() == DbBackend::Sqlite {
                connection
                    .execute_unprepared("PRAGMA busy_timeout = 20000")
                    .await?;
            }
            connection.execute_unprepared(sql).await
        })
        .unwrap();
}

/// Changes the schema on a server and records the migration, as a later version of the gateway would at its start:
/// under the lock that keeps other gateways from migrating meanwhile.
pub(crate) fn migrate_as_later(url: &str, name: &str, changes: &[&str]) {
    let (runtime, connection) = connect(url).unwrap();
    let take_lock = match connection.get_database_backend() {
        DbBackend::Postgres => "SELECT pg_advisory_lock(7238943117)",
        _ => "SELECT GET_LOCK(CONCAT('vehicle-gateway.', SHA1(DATABASE())), 600)",
    };
    let record =
        format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{name}', 4102358400)");
    runtime
        .block_on(async {
            connection.execute_unprepared(take_lock).await?;
            for change in changes {
                connection.execute_unprepared(change).await?;
            }
            connection.execute_unprepared(&record).await?;
            // Closing the connection releases the lock.
            connection.close().await
        })
        .unwrap();
}

/// A lock that another program holds on a database file, or on rows of a server; released when dropped.
pub(crate) struct Lock {
    runtime: Runtime,
    connection: DatabaseConnection,
}

impl Lock {
    pub(crate) fn take(path: &Path) -> Self {
        let (runtime, connection) = connect(&format!("sqlite://{}", path.display())).unwrap();
        let lock = Self {
            runtime,
            connection,
        };
        lock.run("PRAGMA busy_timeout = 20000");
        lock.run("BEGIN IMMEDIATE");
        lock
    }

    /// Reads from a file in a transaction, which keeps the state of this moment visible to it.
    pub(crate) fn reading(path: &Path) -> Self {
        let (runtime, connection) = connect(&format!("sqlite://{}", path.display())).unwrap();
        let lock = Self {
            runtime,
            connection,
        };
        lock.run("BEGIN");
        lock.run("SELECT count(*) FROM vehicles");
        lock
    }

    /// Locks rows on a server: those of a table, or of `table WHERE condition`.
    pub(crate) fn of_rows(url: &str, table: &str) -> Self {
        let (runtime, connection) = connect(url).unwrap();
        let lock = Self {
            runtime,
            connection,
        };
        lock.run("START TRANSACTION");
        lock.run(&format!("SELECT * FROM {table} FOR UPDATE"));
        lock
    }

    /// Changes the database within the transaction that holds the lock.
    pub(crate) fn change(&self, sql: &str) {
        self.run(sql);
    }

    /// Commits the changes and releases the lock.
    pub(crate) fn commit(self) {
        self.run("COMMIT");
    }

    fn run(&self, sql: &str) {
        self.runtime
            .block_on(self.connection.execute_unprepared(sql))
            .unwrap();
    }
}

/// Connections that another program holds; closed when dropped.
#[derive(Default)]
pub(crate) struct HeldConnections(Vec<(Runtime, DatabaseConnection)>);

impl HeldConnections {
    /// Takes one connection.
    pub(crate) fn take_one(url: &str) -> Self {
        Self(vec![connect(url).unwrap()])
    }

    /// Takes all connections that the server has for the user of this URL.
    pub(crate) fn take_all(url: &str) -> Self {
        let more = || connect_within(url, Duration::from_secs(1)).ok();
        Self(std::iter::from_fn(more).collect())
    }

    /// The number that a server of the `MySQL` family has given to the first of them.
    pub(crate) fn id(&self) -> u64 {
        let (runtime, connection) = &self.0[0];
        let select = Statement::from_string(DbBackend::MySql, "SELECT connection_id()");
        let row = runtime.block_on(connection.query_one_raw(select)).unwrap();
        row.unwrap().try_get_by_index(0).unwrap()
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.run("ROLLBACK");
    }
}
