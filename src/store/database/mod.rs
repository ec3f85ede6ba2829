//! Opening a database: one connection that writes, several that read, and the right to write.
//!
//! An `SQLite` file belongs to one process, by a lock of the operating system. On a server each batch of
//! writes first looks whether this incarnation may still write.

mod incarnation;
mod server;
mod sqlite;

use std::time::Duration;

use sea_orm::{ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr};
use tokio::time::timeout;

use super::{OpenError, clock::Clock};
pub(super) use incarnation::{Incarnation, Succession};
pub(super) use sqlite::FileLock;

/// The transaction of a batch.
pub(super) type Transaction = sea_orm::DatabaseTransaction;

pub(super) struct Opened {
    pub(super) write_connection: WriteConnection,
    pub(super) reader: DatabaseConnection,
    pub(super) lock: Option<FileLock>,
    pub(super) clock: Clock,
}

/// The connection that writes. After any error it is thrown away and made anew, for nobody knows what
/// of a transaction is still there: `SQLite` ends one by itself when it cannot write, the driver then
/// miscounts how deep it is nested, and a later COMMIT would succeed without committing anything; on the
/// `MySQL` family a COMMIT after a lock time-out keeps half of a batch.
#[derive(Debug)]
pub(super) struct WriteConnection {
    options: ConnectOptions,
    current: Option<DatabaseConnection>,
}

impl WriteConnection {
    /// The connection, on which nothing has failed yet.
    pub(super) async fn get(&mut self) -> Result<DatabaseConnection, DbErr> {
        if let Some(current) = &self.current {
            return Ok(current.clone());
        }
        let fresh = Database::connect(self.options.clone()).await?;
        self.current = Some(fresh.clone());
        Ok(fresh)
    }

    /// Begins the next incarnation on the server after the last one was declared dead.
    pub(super) async fn begin_again(&self, next: &Incarnation) -> Result<Succession, DbErr> {
        server::begin_again(self.options.get_url(), next).await
    }

    /// Closes the connection, and with it a transaction that may still be open. A server that does not
    /// answer is not waited for.
    pub(super) async fn discard(&mut self) {
        let Some(current) = self.current.take() else {
            return;
        };
        // One on which nothing is heard any more does not close before the operating system gives it up.
        let is_file = current.get_database_backend() == DbBackend::Sqlite;
        let patience = if is_file {
            Duration::MAX
        } else {
            CLOSE_TIMEOUT
        };
        if let Ok(Err(error)) = timeout(patience, current.close()).await {
            tracing::warn!(%error, "a database connection did not close well");
        }
    }
}

/// How long a connection to a server may take to close.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(500);

/// Where a database is.
#[derive(Debug, Clone)]
pub struct DatabaseAddress {
    /// `sqlite://<path>` (the file is created if it is missing), `mysql://…` or `postgres://…`.
    pub url: String,
    /// The same without secrets, for logs and errors.
    pub shown: String,
}

/// Brings the schema of a database up to date and does nothing else.
pub async fn migrate(address: &DatabaseAddress) -> Result<(), OpenError> {
    let Opened {
        mut write_connection,
        reader,
        ..
    } = open_for(address, 1, None).await?;
    write_connection.discard().await;
    reader.close().await.map_err(|source| OpenError::Connect {
        url: address.shown.clone(),
        source,
    })
}

/// Opens a database, brings its schema up to date, and begins this incarnation there: an earlier one of its
/// name writes nothing more.
pub(super) async fn open(
    address: &DatabaseAddress,
    readers: u32,
    incarnation: &Incarnation,
    lease: Duration,
) -> Result<Opened, OpenError> {
    open_for(address, readers, Some((incarnation, lease))).await
}

async fn open_for(
    address: &DatabaseAddress,
    readers: u32,
    incarnation: Option<(&Incarnation, Duration)>,
) -> Result<Opened, OpenError> {
    let url = address.url.as_str();
    let connecting = |source| OpenError::Connect {
        url: address.shown.clone(),
        source,
    };
    let is_file = url.starts_with("sqlite:");
    let lock = if is_file {
        Some(sqlite::take_file(url)?)
    } else {
        None
    };
    let migrating = |source| OpenError::Migrate {
        url: address.shown.clone(),
        source,
    };
    let write_connection = if is_file {
        let mut connection = sqlite::write_connection(url).await.map_err(connecting)?;
        let db = connection.get().await.map_err(connecting)?;
        vehicle_gateway_migrations::migrate(&db)
            .await
            .map_err(migrating)?;
        connection
    } else {
        server::prepare(url, incarnation.map(|(incarnation, _)| incarnation))
            .await
            .map_err(|error| match error {
                DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => connecting(error),
                _ => migrating(error),
            })?;
        server::write_connection(url, incarnation.map_or(Duration::ZERO, |(_, lease)| lease))
    };
    let reader = if is_file {
        sqlite::reader(url, readers)
    } else {
        server::reader(url, readers)
    };
    let reader = Database::connect(reader).await.map_err(connecting)?;
    let clock = if is_file {
        Clock::own()
    } else {
        Clock::of(&reader).await.map_err(connecting)?
    };
    Ok(Opened {
        write_connection,
        reader,
        lock,
        clock,
    })
}
