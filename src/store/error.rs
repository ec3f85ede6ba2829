//! Errors of the store, and which of them are worth a retry.

use std::time::Duration;

use sea_orm::{DbErr, RuntimeErr, SqlxError, sqlx::mysql::MySqlDatabaseError};

/// Why a read or a write failed.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The database could not commit within `store.commit_timeout`, the queue was full for that long, or the database
    /// did not answer a read.
    #[error("the database could not commit in time")]
    Unavailable,
    /// The database refused this one write, and would refuse it again.
    #[error("the database refused the write: {0}")]
    Rejected(DbErr),
    /// A read failed for another reason than a database that does not answer.
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
    /// Whether the database may only not be there yet: nothing answers at its address, or it is starting or stopping.
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

/// The error of a read. It is [`StoreError::Unavailable`] if the database did not answer, since a later read may
/// succeed.
impl From<DbErr> for StoreError {
    fn from(error: DbErr) -> Self {
        if is_away(&error) {
            tracing::debug!(%error, "a read failed");
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

/// Whether `error` means that the database did not answer, rather than that it refused.
fn is_away(error: &DbErr) -> bool {
    let source = match error {
        DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => return true,
        DbErr::Exec(RuntimeErr::SqlxError(source))
        | DbErr::Query(RuntimeErr::SqlxError(source)) => source,
        _ => return false,
    };
    matches!(source.as_ref(), SqlxError::Tls(_)) || is_absent(source)
}

/// Whether nobody answered, or a server that is starting or stopping.
fn is_absent(source: &SqlxError) -> bool {
    match source {
        SqlxError::Io(_) | SqlxError::PoolTimedOut => true,
        SqlxError::Database(database) => {
            let number = database.try_downcast_ref::<MySqlDatabaseError>();
            number.is_some_and(|error| MYSQL_AWAY.contains(&error.number()))
                || database.code().is_some_and(|code| code.starts_with("57P"))
        }
        _ => false,
    }
}

// Errors of the MySQL family while it stops, of a connection that was killed, and of a Galera node without a quorum
// (1047). Those of PostgreSQL are SQLSTATE 57P01 to 57P05: stopping, crashed, starting.
const MYSQL_AWAY: [u16; 5] = [1047, 1053, 1077, 1079, 1927];

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
