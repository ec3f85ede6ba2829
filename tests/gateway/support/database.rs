//! Looking into the database file from outside, and getting in its way.

use std::path::Path;

use sea_orm::{ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use tokio::runtime::Runtime;

fn connect(path: &Path) -> (Runtime, DatabaseConnection) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let url = format!("sqlite://{}", path.display());
    let connection = runtime.block_on(Database::connect(url)).unwrap();
    (runtime, connection)
}

/// The one column that `sql` selects, as text; NULL is the empty text.
pub(crate) fn query(path: &Path, sql: &str) -> Vec<String> {
    let (runtime, connection) = connect(path);
    let sql = format!("WITH q(v) AS ({sql}) SELECT CAST(IFNULL(v, '') AS TEXT) AS v FROM q");
    let rows = runtime
        .block_on(connection.query_all_raw(Statement::from_string(DbBackend::Sqlite, sql)))
        .unwrap();
    rows.iter()
        .map(|row| row.try_get_by_index(0).unwrap())
        .collect()
}

/// Changes the database as another program.
pub(crate) fn change(path: &Path, sql: &str) {
    let (runtime, connection) = connect(path);
    runtime
        .block_on(async {
            connection
                .execute_unprepared("PRAGMA busy_timeout = 20000")
                .await?;
            connection.execute_unprepared(sql).await
        })
        .unwrap();
}

/// Another program that holds the write lock of the database until this is dropped.
pub(crate) struct Lock {
    runtime: Runtime,
    connection: DatabaseConnection,
}

impl Lock {
    pub(crate) fn take(path: &Path) -> Self {
        let (runtime, connection) = connect(path);
        let lock = Self {
            runtime,
            connection,
        };
        lock.run("PRAGMA busy_timeout = 20000");
        lock.run("BEGIN IMMEDIATE");
        lock
    }

    fn run(&self, sql: &str) {
        self.runtime
            .block_on(self.connection.execute_unprepared(sql))
            .unwrap();
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.run("ROLLBACK");
    }
}
