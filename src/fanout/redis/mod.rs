//! Redis as the transport of the fan-out: a channel for each incarnation, and the shared channel, to which all
//! instances subscribe.
//!
//! `supervisor` keeps the connections and proves that messages arrive, `reader` receives them, `connection` wraps the
//! client library, `fred`, and `refusal` its errors.

mod connection;
mod reader;
mod refusal;
mod supervisor;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fred::clients::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout},
};

use super::{
    message::FanoutEvent,
    participant::{Participant, Published},
};
use crate::{domain::IncarnationId, supervision::essential};
use connection::Servers;
use supervisor::Supervisor;

/// The longest that [`RedisTransport::listening_as`] waits for Redis.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Received events that wait to be handled. Further ones are dropped.
const EVENTS: usize = 4096;

/// How to reach Redis.
#[derive(Clone)]
pub struct FanoutOptions {
    /// The URL of Redis with the password: `redis://…`, `rediss://…` (TLS), or a form for sentinels or a Redis Cluster.
    pub url: String,
    /// The URL without secrets, for the log.
    pub shown: String,
    /// The name of the shared channel, and the prefix of the names of the channels of incarnations.
    pub channel: String,
}

impl fmt::Debug for FanoutOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FanoutOptions")
            .field("url", &self.shown)
            .field("channel", &self.channel)
            .finish()
    }
}

/// [`FanoutOptions`] that cannot be used: the URL is invalid, or TLS cannot be configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("redis.url cannot be used: {0}")]
pub struct FanoutError(String);

/// The transport of a [`Fanout`](super::Fanout) over Redis.
pub(super) struct RedisTransport {
    shared: Arc<RedisShared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// The state that the transport, its supervisor and its reader share.
struct RedisShared {
    participant: Arc<Participant>,
    /// The name of the shared channel.
    channel: String,
    is_cluster: bool,
    /// Set by the supervisor: the connection to publish on while published messages arrive, and why they do not while
    /// Redis is unavailable.
    established: watch::Sender<Result<Established, String>>,
}

/// A connection to publish on, which is known to work: a message that was published on it has arrived here.
#[derive(Clone)]
struct Established {
    publisher: Client,
    /// The incarnation to which that message was sent.
    incarnation: IncarnationId,
}

impl RedisTransport {
    pub(super) fn connect(
        options: FanoutOptions,
        participant: Arc<Participant>,
    ) -> Result<(Self, mpsc::Receiver<FanoutEvent>), FanoutError> {
        let servers = Servers::new(&options.url)?;
        let shared = Arc::new(RedisShared {
            participant,
            channel: options.channel,
            is_cluster: servers.is_cluster(),
            established: watch::Sender::new(Err("not connected yet".to_owned())),
        });
        let (sender, events) = mpsc::channel(EVENTS);
        let supervisor = Supervisor {
            shared: Arc::clone(&shared),
            servers,
            shown: options.shown,
            events: sender,
        };
        let supervisor = Mutex::new(Some(tokio::spawn(essential(
            "fan-out supervisor",
            supervisor.run(),
        ))));
        Ok((Self { shared, supervisor }, events))
    }

    /// Waits until messages to this incarnation arrive, for [`LISTEN_TIMEOUT`] at most. Returns at once while Redis is
    /// unavailable.
    pub(super) async fn listening_as(&self, incarnation: IncarnationId) {
        let mut established = self.shared.established.subscribe();
        let listening = established.wait_for(|established| {
            let established = established.as_ref();
            !established.is_ok_and(|established| established.incarnation != incarnation)
        });
        // After the time-out the supervisor goes on subscribing.
        let _confirmed = timeout(LISTEN_TIMEOUT, listening).await;
    }

    pub(super) fn is_up(&self) -> bool {
        self.shared.established.borrow().is_ok()
    }

    /// Why Redis is unavailable; `None` while it is not.
    pub(super) fn outage(&self) -> Option<String> {
        self.shared.established.borrow().as_ref().err().cloned()
    }

    pub(super) async fn publish(
        &self,
        to: IncarnationId,
        message: String,
        deadline: Instant,
    ) -> Published {
        let established = self.shared.established.borrow().clone();
        let Ok(Established { publisher, .. }) = established else {
            return Published::NotSent;
        };
        if deadline <= Instant::now() {
            return Published::NotSent;
        }
        let channel = self.shared.channel_of(to);
        let published = connection::publish(&publisher, channel, message, deadline).await;
        connection::outcome(&published, self.shared.is_cluster)
    }

    pub(super) async fn close(&self) {
        if let Some(supervisor) = self.take_supervisor() {
            supervisor.abort();
            // The abort ends it.
            let _aborted = supervisor.await;
        }
        let closed = "the fan-out is closed".to_owned();
        self.shared.set(Err(closed));
    }

    fn take_supervisor(&self) -> Option<JoinHandle<()>> {
        let mut supervisor = self
            .supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        supervisor.take()
    }
}

impl Drop for RedisTransport {
    fn drop(&mut self) {
        if let Some(supervisor) = self.take_supervisor() {
            supervisor.abort();
        }
    }
}

impl RedisShared {
    /// Sets `established`. Returns whether Redis was available before.
    fn set(&self, established: Result<Established, String>) -> bool {
        self.established.send_replace(established).is_ok()
    }

    /// The channel of one incarnation.
    fn channel_of(&self, incarnation: IncarnationId) -> String {
        format!("{}:instance:{incarnation}", self.channel)
    }
}
