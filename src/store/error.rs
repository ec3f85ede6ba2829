//! Errors of the store, and which of them are worth a retry.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr, SqlxError, sqlx::mysql::MySqlDatabaseError};

/// Why a read or a write failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database could not commit within `store.commit_timeout`, the queue was full for that long, or the database
    /// could not be read.
    #[error("the database is unavailable")]
    Unavailable,
    /// The database refused this one write, and would refuse it again.
    #[error("the database refused the write: {0}")]
    Rejected(DbErr),
    /// A read failed for another reason than a database that is unavailable.
    #[error("the database could not be read: {0}")]
    Read(DbErr),
    /// A row holds a value that the gateway never writes.
    #[error("column {column} of table {table} holds an impossible value")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// Another gateway has been started under the name of this one, which stores nothing from then on.
    #[error("another gateway has taken the name of this one")]
    Fenced,
    /// The writer has stopped: the gateway is shutting down.
    #[error("the store is closed")]
    Closed,
}

/// Why the store could not be opened. Each is a sentence an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process owns the file.
    #[error(
        "database {path} is in use by another vehicle-gateway (its lock file is {path}.lock); one process owns an SQLite file"
    )]
    InUse {
        /// The database file.
        path: String,
    },
    /// The lock file could not be made.
    #[error(
        "cannot lock database {path}: {source}; does its folder exist, and may this user write there?"
    )]
    Lock {
        /// The database file.
        path: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The database could not be opened.
    #[error("cannot open database {url}: {source}")]
    Connect {
        /// The address as configured.
        url: String,
        /// The error of the driver.
        source: DbErr,
    },
    /// The schema could not be brought up to date.
    #[error("cannot migrate database {url}: {source}")]
    Migrate {
        /// The address as configured.
        url: String,
        /// The error of the migration.
        source: DbErr,
    },
}

impl OpenError {
    /// Whether the database may only not be there yet: nothing answers at its address, or it is starting or stopping, or
    /// has no room for another connection.
    #[must_use]
    pub fn is_away(&self) -> bool {
        let (Self::Connect { source, .. } | Self::Migrate { source, .. }) = self else {
            return false;
        };
        match source {
            DbErr::ConnectionAcquire(_) | DbErr::Conn(RuntimeErr::Internal(_)) => true,
            DbErr::Conn(RuntimeErr::SqlxError(source))
            | DbErr::Exec(RuntimeErr::SqlxError(source))
            | DbErr::Query(RuntimeErr::SqlxError(source)) => {
                // What a balancer without a server behind it does: it accepts and closes, which reads as an answer that
                // breaks off.
                matches!(source.as_ref(), SqlxError::Protocol(_)) || is_absent(source)
            }
            _ => false,
        }
    }
}

/// The error of a read, which `database::Reader` has logged if it is [`StoreError::Unavailable`].
impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_unavailable(&error) {
            Self::Unavailable
        } else {
            Self::Read(error)
        }
    }
}

/// Why an attempt to commit a batch failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum CommitError {
    /// The database or the driver refused.
    #[error(transparent)]
    Database(#[from] DbErr),
    /// The server did not answer.
    #[error("no answer within {0:?}")]
    NoAnswer(Duration),
    /// The incarnation that writes the batch was declared dead.
    #[error("this incarnation was declared dead")]
    IncarnationLost,
    /// The row of the incarnation has another batch number than the last one that is known to be stored.
    #[error("the database has batch {0} of this instance as the last one")]
    OtherBatch(i64),
    /// An earlier attempt, whose COMMIT was not answered, is stored.
    #[error("batch {0} is stored after all")]
    EarlierStored(i64),
    /// The server has not applied yet, or has lost, batches that were acknowledged.
    #[error(
        "the database server is behind: it has not got batch {0} of this instance, which was acknowledged"
    )]
    Behind(i64),
    /// The next incarnation had begun in an attempt whose answer was lost, and has been declared dead since.
    #[error("the next incarnation was declared dead before it was known to have begun")]
    SuccessorLost,
    /// A gateway that was started later has the name of this instance: nothing will be committed any more.
    #[error("another gateway has taken the name of this one")]
    NameTaken,
}

impl CommitError {
    /// See [`is_poison`].
    pub(super) fn is_poison(&self) -> bool {
        matches!(self, Self::Database(error) if is_poison(error))
    }

    /// See [`is_collision`].
    pub(super) fn is_collision(&self) -> bool {
        matches!(self, Self::Database(error) if is_collision(error))
    }
}

/// Whether a read failed because the database did not answer or does not let the gateway in, whatever is read: a later
/// read may succeed.
pub(super) fn is_unavailable(error: &DbErr) -> bool {
    let source = match error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => return true,
        DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => source,
        _ => return false,
    };
    matches!(source.as_ref(), SqlxError::Tls(_)) || is_absent(source) || is_denied(source)
}

/// Whether nobody answered, or a server that is starting or stopping or has no room for another connection.
fn is_absent(source: &SqlxError) -> bool {
    match source {
        SqlxError::Io(_) | SqlxError::PoolTimedOut => true,
        SqlxError::Database(error) => match error.try_downcast_ref::<MySqlDatabaseError>() {
            Some(error) => MYSQL_AWAY.contains(&error.number()),
            None => error
                .code()
                .is_some_and(|code| code.starts_with("57P") || code == POSTGRES_FULL),
        },
        _ => false,
    }
}

// Errors of the MySQL family while it stops, of a connection that was killed, of a Galera node without a quorum (1047),
// and without room: for a connection (1040), for one of this user (1203, 1226), for one of this host after errors (1129).
// Those of PostgreSQL are SQLSTATE 57P01 to 57P05: stopping, crashed, starting.
const MYSQL_AWAY: [u16; 9] = [1040, 1047, 1053, 1077, 1079, 1129, 1203, 1226, 1927];
/// `PostgreSQL` has no room for a connection: any, or one of this role or to this database.
const POSTGRES_FULL: &str = "53300";

/// Whether the server denies this user what it reads.
fn is_denied(source: &SqlxError) -> bool {
    let SqlxError::Database(error) = source else {
        return false;
    };
    match error.try_downcast_ref::<MySqlDatabaseError>() {
        Some(error) => MYSQL_DENIED.contains(&error.number()),
        None => error.code().is_some_and(|code| code == POSTGRES_DENIED),
    }
}

// A database, a table or a column that the user may not read.
const MYSQL_DENIED: [u16; 3] = [1044, 1142, 1143];
const POSTGRES_DENIED: &str = "42501";

// SQLite's primary result codes: https://www.sqlite.org/rescode.html
const TOO_BIG: u32 = 18;
const CONSTRAINT: u32 = 19;
const MISMATCH: u32 = 20;
const RANGE: u32 = 25;

// Errors of the MySQL family that the data causes, although their SQLSTATE does not say so: a packet larger than
// `max_allowed_packet`, an invalid text.
const MYSQL_DATA: [u16; 2] = [1153, 1366];

/// Whether a write that failed with `error` would fail again, even alone in its batch.
///
/// Only errors that the data itself causes count; any other (locked, disk full, connection lost) may pass, and the
/// write is retried.
pub(super) fn is_poison(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) =
        error
    else {
        return matches!(error, DbErr::Type(_) | DbErr::TryIntoErr { .. });
    };
    let SqlxError::Database(database) = source.as_ref() else {
        return matches!(
            source.as_ref(),
            SqlxError::Encode(_) | SqlxError::ColumnDecode { .. }
        );
    };
    let Some(code) = database.code() else {
        return false;
    };
    if is_changed_by_others(error) {
        return false;
    }
    let number = database.try_downcast_ref::<MySqlDatabaseError>();
    if number.is_some_and(|error| MYSQL_DATA.contains(&error.number())) {
        return true;
    }
    // A SQLSTATE may consist of digits only; SQLite's codes have four digits at most.
    if code.len() == SQLSTATE_LENGTH {
        return is_poison_sqlstate(&code);
    }
    code.parse::<u32>()
        .is_ok_and(|code| matches!(code & 0xff, TOO_BIG | CONSTRAINT | MISMATCH | RANGE))
}

/// Whether a write failed because another instance, or another connection to the file, was first with a row or a lock.
/// The next attempt reads what the other one wrote.
fn is_collision(error: &DbErr) -> bool {
    if is_changed_by_others(error) {
        return true;
    }
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) =
        error
    else {
        return false;
    };
    let SqlxError::Database(database) = source.as_ref() else {
        return false;
    };
    if let Some(error) = database.try_downcast_ref::<MySqlDatabaseError>() {
        return MYSQL_COLLISIONS.contains(&error.number());
    }
    let code = database.code();
    code.is_some_and(|code| POSTGRES_COLLISIONS.contains(&code.as_ref()))
}

/// Whether a transaction failed because another connection has written to the file, which the statement of
/// `database::unless_changed_by_others` reports by violating a constraint.
fn is_changed_by_others(error: &DbErr) -> bool {
    let (DbErr::Exec(RuntimeErr::SqlxError(source)) | DbErr::Query(RuntimeErr::SqlxError(source))) =
        error
    else {
        return false;
    };
    source
        .as_database_error()
        .is_some_and(|error| error.message().contains("file_changed_by_others"))
}

// A key that is there already; a deadlock; a row that was locked for too long.
const MYSQL_COLLISIONS: [u16; 3] = [1062, 1213, 1205];
const POSTGRES_COLLISIONS: [&str; 3] = ["23505", "40P01", "55P03"];

const SQLSTATE_LENGTH: usize = 5;

/// Whether this SQLSTATE (ISO 9075) means that the data is at fault: class 22, data exceptions, and of class 23 what a
/// value by itself violates (`PostgreSQL`: NOT NULL, CHECK). The rest of class 23 does not: that may be a row that
/// another instance made at the same time.
fn is_poison_sqlstate(code: &str) -> bool {
    code.starts_with("22") || matches!(code, "23502" | "23514")
}
