//! Connections to Redis: one server, sentinels or a cluster.
//!
//! A connection that fails is given up with all that waits in it, and the next one is another client. The
//! client's own way to reconnect is not used: it writes later what was published during an outage, loses
//! subscriptions that fail at the wrong moment, and does not come to it while a write is stuck.

use std::time::Duration;

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, PubsubInterface},
    types::{
        Builder, ConnectHandle, RespVersion,
        config::{Config, Options, TlsConnector},
    },
};
use tokio::time::{Instant, timeout};

use super::FanoutError;
use crate::tls;

/// The longest to wait for what Redis says to a command.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that connecting to one server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that connecting to all servers may take: some of them may be away.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// Commands that wait to be written; more than the requests that may be under way.
const UNWRITTEN: usize = 8192;
/// Messages that were read and not looked at yet. They are looked at at once, but a burst may be read at once
/// too. The client has several queues of this size, so it costs some MiB.
const UNREAD: usize = 8192;

/// The same for a connection that hears nothing but what becomes of itself.
const EVENTS: usize = 32;

/// Which servers to connect to.
#[derive(Clone)]
pub(super) struct Servers(Config);

/// What Redis said to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Published {
    /// It went to somebody; in a cluster perhaps to nobody.
    Sent,
    /// Nobody listens.
    ToNobody,
    /// It was not published.
    Not,
    /// Redis did not say.
    Unknown,
}

impl Servers {
    pub(super) fn new(url: &str) -> Result<Self, FanoutError> {
        // The client would not start at all over one authority of the system that it cannot read, and takes the means
        // of encryption that the process has by chance.
        let encrypted = url.strip_prefix("rediss");
        let plain = encrypted.map(|rest| format!("redis{rest}"));
        let mut config = Config::from_url(plain.as_deref().unwrap_or(url))
            .map_err(|error| FanoutError(error.details().to_owned()))?;
        if encrypted.is_some() {
            let client = tls::client(Vec::new()).map_err(|error| FanoutError(error.to_string()))?;
            config.tls = Some(TlsConnector::from(client).into());
        }
        // Subscriptions and other commands on one connection, which tells what is wrong with a subscription.
        config.version = RespVersion::RESP3;
        Ok(Self(config))
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.0.server.is_clustered()
    }

    /// A connection that hears messages.
    pub(super) async fn subscriber(&self) -> Result<Connection, Error> {
        self.open(UNREAD).await
    }

    /// A connection that publishes.
    pub(super) async fn publisher(&self) -> Result<Connection, Error> {
        self.open(EVENTS).await
    }

    async fn open(&self, unread: usize) -> Result<Connection, Error> {
        let mut builder = Builder::from_config(self.0.clone());
        builder
            .with_performance_config(|performance| {
                performance.default_command_timeout = COMMAND_TIMEOUT;
                performance.broadcast_channel_capacity = unread;
            })
            .with_connection_config(|connection| {
                connection.connection_timeout = CONNECT_TIMEOUT;
                connection.internal_command_timeout = CONNECT_TIMEOUT;
                connection.max_command_attempts = 1;
                connection.max_command_buffer_len = UNWRITTEN;
                connection.tcp.nodelay = Some(true);
            });
        let client = builder.build()?;
        let mut connection = Connection {
            task: client.connect(),
            client,
        };
        let client = connection.client.clone();
        let opened = timeout(OPEN_TIMEOUT, async {
            tokio::select! {
                opened = connected(&client) => opened,
                error = connection.ended() => Err(error),
            }
        });
        match opened.await {
            Ok(opened) => opened.map(|()| connection),
            Err(_elapsed) => Err(Error::new(ErrorKind::Timeout, "no connection in time")),
        }
    }
}

/// Waits until the client is connected or has failed.
async fn connected(client: &Client) -> Result<(), Error> {
    loop {
        // It looks first and listens then, so what happens in between needs another look.
        let look = timeout(Duration::from_millis(100), client.wait_for_connect());
        if let Ok(connected) = look.await {
            return connected;
        }
    }
}

/// A connection, and the task in which it lives; both end when it is dropped.
pub(super) struct Connection {
    pub(super) client: Client,
    task: ConnectHandle,
}

impl Connection {
    /// Why the connection ended, once it has.
    pub(super) async fn ended(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::new(ErrorKind::IO, "the connection was closed"),
            Err(panicked) => Error::new(ErrorKind::Unknown, panicked.to_string()),
        }
    }

    /// Hears this channel from now on.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        self.client.subscribe(channel).await?;
        self.confirm().await
    }

    /// Hears this channel no more.
    pub(super) async fn unsubscribe(&self, channel: &str) -> Result<(), Error> {
        self.client.unsubscribe(channel).await?;
        self.confirm().await
    }

    /// The client calls a subscription done when it is written. If Redis refuses it, that is what the next
    /// command is told.
    async fn confirm(&self) -> Result<(), Error> {
        self.client.ping::<()>(None).await
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Publishes a message now or, as far as is in our hands, never.
pub(super) async fn publish(
    client: &Client,
    channel: String,
    message: String,
    deadline: Instant,
    is_cluster: bool,
) -> Published {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Published::Not;
    }
    let options = Options {
        timeout: Some(left.min(COMMAND_TIMEOUT)),
        max_attempts: Some(1),
        fail_fast: true,
        ..Options::default()
    };
    let receivers = client
        .with_options(&options)
        .publish::<u64, _, _>(channel, message)
        .await;
    match receivers {
        // The nodes of a cluster count their own subscribers only.
        Ok(0) if !is_cluster => Published::ToNobody,
        Ok(_) => Published::Sent,
        Err(error) => match error.kind() {
            // It was refused, here or there.
            ErrorKind::Auth | ErrorKind::Backpressure | ErrorKind::InvalidCommand => Published::Not,
            _ => Published::Unknown,
        },
    }
}
