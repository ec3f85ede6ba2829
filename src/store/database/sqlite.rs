//! An `SQLite` file, which one process owns.

use std::{
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr, Statement,
    sqlx::{ConnectOptions as _, Executor, sqlite::SqliteConnectOptions},
};
use tokio::time::timeout;

use super::{
    DriverConnection, connection_error,
    file_access::{open_private, warn_if_others_may_read},
    too_late,
};
use crate::store::OpenError;

/// How long a statement waits for a lock that another process (a shell, a backup) holds. Short, since the writer tries
/// again by itself until `store.commit_timeout`.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a connection may take to open, or a read may wait for a free one: long, because a disk that
/// others keep busy is slow and not broken. Requests have limits of their own.
pub(super) const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(30);

/// Opens the file, or makes it.
pub(super) async fn creating(url: &str) -> Result<DatabaseConnection, DbErr> {
    let mut creating = options(url, 1);
    creating.map_sqlx_sqlite_opts(|options| base(options).create_if_missing(true));
    Database::connect(creating).await
}

/// How to connect for writing. A file that has disappeared is not created again, since it would be empty.
pub(super) fn write_options(url: &str) -> Result<SqliteConnectOptions, DbErr> {
    let options = SqliteConnectOptions::from_str(url).map_err(connection_error)?;
    Ok(base(options)
        .statement_cache_capacity(STATEMENTS)
        .disable_statement_logging())
}

pub(super) async fn connect(options: &SqliteConnectOptions) -> Result<DriverConnection, DbErr> {
    let connecting = timeout(ACQUIRE_TIMEOUT, options.connect());
    let mut connection = connecting
        .await
        .unwrap_or_else(|_elapsed| Err(too_late("no connection", ACQUIRE_TIMEOUT)))
        .map_err(connection_error)?;
    connection
        .execute(WATCH_FOR_OTHERS)
        .await
        .map_err(connection_error)?;
    Ok(DriverConnection::from(connection))
}

/// Prepared texts that the writer's connection keeps.
const STATEMENTS: usize = 128;

/// Creates a temporary row whose value must be true. A batch that sets it to a comparison fails, within the same call,
/// if the comparison is false. See [`unless_changed_by_others`].
const WATCH_FOR_OTHERS: &str = "\
    CREATE TEMP TABLE known_rows (\
        are_current INTEGER CONSTRAINT file_changed_by_others CHECK (are_current)); \
    INSERT INTO temp.known_rows VALUES (1)";

/// Fails a transaction if another connection has written to the file since `PRAGMA data_version` was this.
pub(in crate::store) fn unless_changed_by_others(data_version: i64) -> Statement {
    Statement::from_sql_and_values(
        DbBackend::Sqlite,
        "UPDATE temp.known_rows SET are_current = \
            (SELECT data_version = ? FROM pragma_data_version)",
        [data_version.into()],
    )
}

pub(super) fn reader(url: &str, readers: u32) -> ConnectOptions {
    let mut read_only = options(url, readers);
    read_only.map_sqlx_sqlite_opts(|options| base(options).pragma("query_only", "ON"));
    read_only
}

/// The lock on the lock file beside the database file, held while this process owns the database. The operating system
/// releases it if the process dies.
#[derive(Debug)]
pub(in crate::store) struct FileLock {
    _file: File,
    database: PathBuf,
}

impl FileLock {
    /// The database file, as an absolute path.
    pub(in crate::store) fn database(&self) -> &Path {
        &self.database
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .min_connections(1)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // An SQLite connection is a file handle: nothing is won by closing or testing it.
        .idle_timeout(None::<Duration>)
        .max_lifetime(None::<Duration>)
        .test_before_acquire(false)
        .sqlx_logging(false)
        .map_sqlx_sqlite_opts(base);
    options
}

fn base(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT)
        .pragma("journal_mode", "WAL")
        // FULL syncs the log at every commit: what was acknowledged survives a power cut.
        .pragma("synchronous", "FULL")
        // Reports of many vehicles in one commit change as many pages of the history's index, and a commit writes whole
        // pages: hence smaller ones than the default of 4096. With still smaller ones too few vehicles share a page.
        .pragma("page_size", "2048")
        // 32 MiB of pages in memory (the default is 2): pages of the index are needed again and again.
        .pragma("cache_size", "-32768")
        // 16 MiB of log between checkpoints (the default is 4): fewer syncs of the main file.
        .pragma("wal_autocheckpoint", "8192")
        // A reader can keep the log from being used again, and it grows. It is cut to this size afterwards.
        .pragma("journal_size_limit", "33554432")
        .pragma("temp_store", "MEMORY")
}

pub(super) fn take_file(url: &str) -> Result<FileLock, OpenError> {
    let parsed = SqliteConnectOptions::from_str(url).map_err(|source| OpenError::Connect {
        url: url.to_owned(),
        source: DbErr::Conn(RuntimeErr::SqlxError(source.into())),
    })?;
    let path = parsed.get_filename().display().to_string();
    let lock = |source| OpenError::Lock {
        path: path.clone(),
        source,
    };
    // Locked by the real name of the file, so that a link to the file leads to the same lock.
    let real = std::fs::canonicalize(parsed.get_filename());
    let real = real.unwrap_or_else(|_new| parsed.get_filename().to_owned());
    let database = std::path::absolute(&real).map_err(lock)?;
    let mut lock_file = real.into_os_string();
    lock_file.push(".lock");
    let file = open_private(Path::new(&lock_file)).map_err(lock)?;
    match file.try_lock() {
        Ok(()) => {
            // SQLite would make it readable for everybody. If this fails, SQLite says why.
            let _made = open_private(&database);
            warn_if_others_may_read(&database);
            Ok(FileLock {
                _file: file,
                database,
            })
        }
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { path }),
        Err(TryLockError::Error(source)) => Err(lock(source)),
    }
}
