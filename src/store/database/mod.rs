//! Opening a database: one connection that writes, several that read, and the right to write.
//!
//! An `SQLite` file belongs to one process, by a lock of the operating system. On a server each batch first checks that
//! this incarnation may still write.

mod driver_connection;
mod file_access;
mod incarnation;
mod reader;
mod reader_pool;
mod server;
mod server_options;
mod server_session;
mod sqlite;

use std::{io, time::Duration};

use sea_orm::{Database, DbErr, RuntimeErr, SqlxError, sqlx::sqlite::SqliteConnectOptions};

use super::{OpenError, clock::Clock};
pub(super) use driver_connection::{DriverConnection, Transaction};
pub(super) use incarnation::{Incarnation, Succession};
pub(super) use reader::Reader;
pub(super) use reader_pool::CommittedBatch;
use server_options::ServerOptions;
pub(super) use sqlite::{FileLock, unless_changed_by_others};

pub(super) struct Opened {
    pub(super) write_connection: WriteConnection,
    pub(super) reader: Reader,
    pub(super) lock: Option<FileLock>,
    pub(super) clock: Clock,
    /// On a server, for the writer to keep up to date: readers compare their connections with it.
    pub(super) committed: Option<CommittedBatch>,
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
            WriteTarget::Server(target) => server::begin_again(&target.options, next).await,
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
    let closed = reader.close().await;
    closed.map_err(|error| address.cannot_connect(error))
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
    if address.url.starts_with("sqlite:") {
        open_file(address, readers).await
    } else {
        open_server(address, readers, incarnation).await
    }
}

async fn open_file(address: &DatabaseAddress, readers: u32) -> Result<Opened, OpenError> {
    let url = address.url.as_str();
    let lock = sqlite::take_file(url)?;
    let creating = sqlite::creating(url)
        .await
        .map_err(|error| address.cannot_connect(error))?;
    vehicle_gateway_migrations::migrate(&creating)
        .await
        .map_err(|error| address.cannot_migrate(error))?;
    let opening = async {
        creating.close().await?;
        let options = sqlite::write_options(url)?;
        let reader = Database::connect(sqlite::reader(url, readers)).await?;
        Ok((options, reader))
    };
    let (options, reader) = opening
        .await
        .map_err(|error| address.cannot_connect(error))?;
    Ok(Opened {
        write_connection: WriteConnection::new(WriteTarget::Sqlite(Box::new(options))),
        reader: Reader::of_file(reader),
        lock: Some(lock),
        clock: Clock::own(),
        committed: None,
    })
}

async fn open_server(
    address: &DatabaseAddress,
    readers: u32,
    incarnation: Option<(&Incarnation, Duration)>,
) -> Result<Opened, OpenError> {
    let options = ServerOptions::parse(&address.url)
        .map_err(|error| address.cannot_connect(connection_error(error)))?;
    let own = incarnation.map(|(own, _)| own);
    server::prepare(&options, own)
        .await
        .map_err(|error| match error {
            DbErr::Conn(_) | DbErr::ConnectionAcquire(_) => address.cannot_connect(error),
            _ => address.cannot_migrate(error),
        })?;
    let committed = own.map(|own| CommittedBatch::none_of(own.id));
    let reader = Reader::of_server(options.clone(), readers, committed.clone());
    // Boxed, as in `app::startup`.
    let clock = match Box::pin(Clock::of(reader.pool())).await {
        Ok(clock) => clock,
        Err(error) => return Err(address.cannot_connect(reader.explained(error).await)),
    };
    let target = WriteTarget::Server(server::ServerTarget {
        options,
        lease: incarnation.map_or(Duration::ZERO, |(_, lease)| lease),
    });
    Ok(Opened {
        write_connection: WriteConnection::new(target),
        reader,
        lock: None,
        clock,
        committed,
    })
}

impl DatabaseAddress {
    fn cannot_connect(&self, source: DbErr) -> OpenError {
        OpenError::Connect {
            url: self.shown.clone(),
            source,
        }
    }

    fn cannot_migrate(&self, source: DbErr) -> OpenError {
        OpenError::Migrate {
            url: self.shown.clone(),
            source,
        }
    }
}

/// The error of something that did not come within its time.
fn too_late(what: &str, time: Duration) -> SqlxError {
    let text = format!("{what} within {time:?}");
    SqlxError::Io(io::Error::new(io::ErrorKind::TimedOut, text))
}

fn connection_error(error: SqlxError) -> DbErr {
    DbErr::Conn(RuntimeErr::SqlxError(explained(error).into()))
}

/// Replaces an error of the driver that tells a developer what to compile by one that tells an operator what to do.
fn explained(error: SqlxError) -> SqlxError {
    match error {
        SqlxError::Configuration(text) if text.to_string().contains("RSA auth backend") => {
            SqlxError::Configuration(
                "this server's kind of password (caching_sha2_password or sha256_password) needs TLS, and the server \
                 offers none: set it up there, or give the user another kind of password"
                    .into(),
            )
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_that_needs_tls_is_explained_to_operators() {
        let of_driver = "RSA auth backend disabled; enable feature `mysql-rsa` or use TLS.";
        let error = explained(SqlxError::Configuration(of_driver.into()));
        assert!(error.to_string().contains("needs TLS"), "{error}");
    }
}
