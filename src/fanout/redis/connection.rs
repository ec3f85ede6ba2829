//! Connections to Redis: to one server, to one that sentinels name, or to a Redis Cluster.
//!
//! A connection that fails is dropped with everything that waits in it, and the next one is a new client. The client's
//! own reconnect is not used: it publishes the messages of an outage after the outage, loses subscriptions that fail at
//! the wrong moment, and does not start while a write is stuck.

use std::time::Duration;

use fred::{
    clients::Client,
    error::{Error, ErrorKind},
    interfaces::{ClientLike, PubsubInterface},
    types::{
        Builder, ConnectHandle, RespVersion,
        config::{Config, Options, ServerConfig, TlsConnector},
    },
};
use futures_util::future::join_all;
use tokio::time::{Instant, timeout};

use super::{
    FanoutError,
    refusal::{is_refusal, without_secrets},
};
use crate::{fanout::participant::Published, tls};

/// The longest that a Redis command may take.
pub(super) const COMMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// The longest that connecting to one server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest that connecting to all servers may take: some of them may be unavailable.
const OPEN_TIMEOUT: Duration = Duration::from_secs(15);
/// How often [`connected`] asks the client again, because it may have missed the event.
const RECHECK_INTERVAL: Duration = Duration::from_millis(100);
/// How many Redis commands may wait to be written: more than the requests to other instances that may be pending.
const UNWRITTEN: usize = 8192;
/// How many received messages the reader may not have taken yet: room for a burst. The client has several queues of
/// this size, so it costs some MiB.
const UNREAD: usize = 8192;
/// The size of these queues in a connection that only publishes: it receives nothing but events about itself.
const UNREAD_BY_PUBLISHER: usize = 32;

/// Which servers to connect to.
#[derive(Clone)]
pub(super) struct Servers(Config);

impl Servers {
    pub(super) fn new(url: &str) -> Result<Self, FanoutError> {
        // The client's own TLS fails over a single system certificate that it cannot parse, and uses whichever crypto
        // provider the process has installed. So it gets a TLS configuration of ours.
        let encrypted = url.strip_prefix("rediss");
        let plain = encrypted.map(|rest| format!("redis{rest}"));
        let mut config = Config::from_url(plain.as_deref().unwrap_or(url))
            .map_err(|error| FanoutError(error.details().to_owned()))?;
        if encrypted.is_some() {
            let client = tls::client(Vec::new()).map_err(|error| FanoutError(error.to_string()))?;
            config.tls = Some(TlsConnector::from(client).into());
        }
        // RESP3 allows other commands on a connection with subscriptions: `RedisConnection::confirm` learns from the
        // reply to one whether a subscription has failed.
        config.version = RespVersion::RESP3;
        Ok(Self(config))
    }

    pub(super) fn is_cluster(&self) -> bool {
        self.0.server.is_clustered()
    }

    /// What an error says, for the log and for operators: without the passwords of the URL, which an error may repeat.
    pub(super) fn reason(&self, error: &Error) -> String {
        let mut secrets = vec![self.0.password.as_deref()];
        if let ServerConfig::Sentinel { password, .. } = &self.0.server {
            secrets.push(password.as_deref());
        }
        without_secrets(error.details(), secrets.into_iter().flatten())
    }

    /// Opens a connection that receives messages.
    pub(super) async fn subscriber(&self) -> Result<RedisConnection, Error> {
        self.open(UNREAD).await
    }

    /// Opens a connection that publishes.
    pub(super) async fn publisher(&self) -> Result<RedisConnection, Error> {
        self.open(UNREAD_BY_PUBLISHER).await
    }

    async fn open(&self, unread: usize) -> Result<RedisConnection, Error> {
        let error = match open(self.0.clone(), unread).await {
            Err(error) if *error.kind() == ErrorKind::Sentinel && !is_refusal(&error) => error,
            opened => return opened,
        };
        // The client says only that it could not ask any sentinel.
        Err(self.failure_of_sentinels().await.unwrap_or(error))
    }

    /// Why no sentinel can be asked: connects to each of them, and prefers what one has answered. `None` if one can be
    /// asked.
    async fn failure_of_sentinels(&self) -> Option<Error> {
        let ServerConfig::Sentinel {
            hosts,
            username,
            password,
            ..
        } = &self.0.server
        else {
            return None;
        };
        let attempts = hosts.iter().map(|host| {
            let sentinel = Config {
                server: ServerConfig::Centralized {
                    server: host.clone(),
                },
                username: username.clone(),
                password: password.clone(),
                tls: self.0.tls.clone(),
                ..Config::default()
            };
            async { open(sentinel, UNREAD_BY_PUBLISHER).await.err() }
        });
        let failures: Option<Vec<Error>> = join_all(attempts).await.into_iter().collect();
        let mut failures = failures?.into_iter();
        let first = failures.next()?;
        if is_refusal(&first) {
            return Some(first);
        }
        Some(failures.find(is_refusal).unwrap_or(first))
    }
}

/// Opens a connection in which so many received messages may wait.
async fn open(config: Config, unread: usize) -> Result<RedisConnection, Error> {
    let mut builder = Builder::from_config(config);
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
    let mut connection = RedisConnection {
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

/// Waits until the client is connected or has failed.
async fn connected(client: &Client) -> Result<(), Error> {
    loop {
        // The client checks whether it is connected, and only then begins to wait for the event. If the event comes in
        // between, the client misses it, so check again.
        let waiting = timeout(RECHECK_INTERVAL, client.wait_for_connect());
        if let Ok(connected) = waiting.await {
            return connected;
        }
    }
}

/// A connection and the task that drives it; both end when it is dropped.
pub(super) struct RedisConnection {
    pub(super) client: Client,
    task: ConnectHandle,
}

impl RedisConnection {
    /// Waits until the connection ends, and returns why.
    pub(super) async fn ended(&mut self) -> Error {
        match (&mut self.task).await {
            Ok(Err(error)) => error,
            Ok(Ok(())) => Error::new(ErrorKind::IO, "the connection was closed"),
            Err(panicked) => Error::new(ErrorKind::Unknown, panicked.to_string()),
        }
    }

    /// Subscribes to a channel.
    pub(super) async fn subscribe(&self, channel: &str) -> Result<(), Error> {
        self.client.subscribe(channel).await?;
        self.confirm().await
    }

    /// Ends the subscription to a channel.
    pub(super) async fn unsubscribe(&self, channel: &str) -> Result<(), Error> {
        self.client.unsubscribe(channel).await?;
        self.confirm().await
    }

    /// Waits until Redis has answered the last subscription. The client reports success as soon as the command is
    /// written; a refusal by Redis is returned to the next command.
    async fn confirm(&self) -> Result<(), Error> {
        self.client.ping::<()>(None).await
    }
}

impl Drop for RedisConnection {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Publishes a message, in one attempt that ends at the deadline or after [`COMMAND_TIMEOUT`]. Returns the number of
/// subscribers that it has reached.
pub(super) async fn publish(
    client: &Client,
    channel: String,
    message: String,
    deadline: Instant,
) -> Result<u64, Error> {
    let left = deadline.saturating_duration_since(Instant::now());
    let options = Options {
        timeout: Some(left.min(COMMAND_TIMEOUT)),
        max_attempts: Some(1),
        fail_fast: true,
        ..Options::default()
    };
    client
        .with_options(&options)
        .publish(channel, message)
        .await
}

/// What the result of [`publish`] says about the message.
pub(super) fn outcome(published: &Result<u64, Error>, is_cluster: bool) -> Published {
    match published {
        // The nodes of a Redis Cluster count only their own subscribers.
        Ok(0) if !is_cluster => Published::NotListening,
        Ok(_) => Published::Sent,
        Err(error) => match error.kind() {
            // The client refused it.
            ErrorKind::Backpressure | ErrorKind::InvalidCommand => Published::NotSent,
            // Every message that waits for an answer gets this error of one node.
            ErrorKind::Cluster => Published::Unconfirmed,
            _ if is_refusal(error) => Published::NotSent,
            _ => Published::Unconfirmed,
        },
    }
}
