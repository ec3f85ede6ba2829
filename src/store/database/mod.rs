//! Opening a database: one connection that writes, several that read, and the right to write.
//!
//! An `SQLite` file belongs to one process, by a lock of the operating system. On a server each batch first checks that
//! this incarnation may still write.

mod driver_connection;
mod incarnation;
mod server;
mod sqlite;

use std::time::Duration;

use sea_orm::{Database, DatabaseConnection, DbErr, sqlx::sqlite::SqliteConnectOptions};

use super::{OpenError, clock::Clock};
pub(super) use driver_connection::{DriverConnection, Transaction};
pub(super) use incarnation::{Incarnation, Succession};
pub(super) use sqlite::{FileLock, unless_changed_by_others};

pub(super) struct Opened {
    pub(super) write_connection: WriteConnection,
    pub(super) reader: DatabaseConnection,
    pub(super) lock: Option<FileLock>,
    pub(super) clock: Clock,
}

/// The connection that writes, connected when it is asked for. After any error it is discarded and connected anew.
#[derive(Debug)]
pub(super) struct WriteConnection {
    target: WriteTarget,
    current: Option<DriverConnection>,
}

/// How to connect for writing.
#[derive(Debug)]
enum WriteTarget {
    Sqlite(Box<SqliteConnectOptions>),
    Server(server::ServerTarget),
}

impl WriteConnection {
    fn new(target: WriteTarget) -> Self {
        Self {
            target,
            current: None,
        }
    }

    /// Returns the connection, and connects first if there is none. After an error on it the caller must call
    /// [`Self::discard`].
    pub(super) async fn get(&mut self) -> Result<&DriverConnection, DbErr> {
        let current = match self.current.take() {
            Some(current) => current,
            None => match &self.target {
                WriteTarget::Sqlite(options) => sqlite::connect(options).await?,
                WriteTarget::Server(target) => target.connect().await?,
            },
        };
        Ok(self.current.insert(current))
    }

    /// Begins the next incarnation on the server after the last one was declared dead.
    pub(super) async fn begin_again(&self, next: &Incarnation) -> Result<Succession, DbErr> {
        match &self.target {
            // A file has no other instance that could declare this one dead.
            WriteTarget::Sqlite(_) => Ok(Succession::Begun),
            WriteTarget::Server(target) => server::begin_again(&target.url, next).await,
        }
    }

    /// Closes the connection, and with it a transaction that may still be open.
    pub(super) async fn discard(&mut self) {
        if let Some(current) = self.current.take() {
            current.close().await;
        }
    }
}

/// Where a database is.
#[derive(Debug, Clone)]
pub struct DatabaseAddress {
    /// `sqlite://<path>` (the file is created if it is missing), `mysql://…` or `postgres://…`.
    pub url: String,
    /// The URL without secrets, for logs and errors.
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

/// Opens a database and brings its schema up to date. On a server it also begins this incarnation: an earlier one of
/// the same name writes nothing from then on.
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
        let creating = sqlite::creating(url).await.map_err(connecting)?;
        vehicle_gateway_migrations::migrate(&creating)
            .await
            .map_err(migrating)?;
        creating.close().await.map_err(connecting)?;
        let options = sqlite::write_options(url).map_err(connecting)?;
        WriteConnection::new(WriteTarget::Sqlite(Box::new(options)))
    } else {
        server::prepare(url, incarnation.map(|(incarnation, _)| incarnation))
            .await
            .map_err(|error| match error {
                DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => connecting(error),
                _ => migrating(error),
            })?;
        WriteConnection::new(WriteTarget::Server(server::ServerTarget {
            url: url.to_owned(),
            lease: incarnation.map_or(Duration::ZERO, |(_, lease)| lease),
        }))
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
