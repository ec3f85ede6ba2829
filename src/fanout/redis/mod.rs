//! Redis as the transport of the fan-out: a channel for each incarnation, and one that all instances hear.
//!
//! `supervisor` keeps the connections and proves that messages arrive, `reader` receives them, `connection` wraps the
//! client library, `fred`.

mod connection;
mod reader;
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
use crate::domain::IncarnationId;
use connection::Servers;
use supervisor::Supervisor;

/// The longest that [`RedisTransport::listening_as`] waits for Redis.
const LISTEN_TIMEOUT: Duration = Duration::from_secs(3);
/// Received events that wait to be handled. Further ones are dropped.
const EVENTS: usize = 4096;

/// How to reach Redis.
#[derive(Clone)]
pub struct FanoutOptions {
    /// `redis://`, `rediss://` and the like, with the password.
    pub url: String,
    /// The same without secrets, for the log.
    pub shown: String,
    /// The channel that all instances hear, and the prefix of the channels of single instances.
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

/// The options do not make a [`Fanout`](crate::fanout::Fanout).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("redis.url cannot be used: {0}")]
pub struct FanoutError(String);

/// The transport's side of the [`Fanout`](super::Fanout).
pub(super) struct RedisTransport {
    shared: Arc<RedisShared>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

/// The state that sending and receiving share.
struct RedisShared {
    participant: Arc<Participant>,
    /// The channel that all instances hear.
    channel: String,
    is_cluster: bool,
    /// Set by the supervisor while published messages arrive.
    established: watch::Sender<Option<Established>>,
}

/// A connection on which published messages arrive.
#[derive(Clone)]
struct Established {
    publisher: Client,
    /// The incarnation whose channel is subscribed to.
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
            established: watch::Sender::new(None),
        });
        let (sender, events) = mpsc::channel(EVENTS);
        let supervisor = Supervisor {
            shared: Arc::clone(&shared),
            servers,
            shown: options.shown,
            events: sender,
        };
        let supervisor = Mutex::new(Some(tokio::spawn(supervisor.run())));
        Ok((Self { shared, supervisor }, events))
    }

    /// Waits until messages to this incarnation arrive; returns without if Redis is unavailable or slow.
    pub(super) async fn listening_as(&self, incarnation: IncarnationId) {
        let mut established = self.shared.established.subscribe();
        let listening = established.wait_for(|established| {
            let established = established.as_ref();
            established.is_none_or(|established| established.incarnation == incarnation)
        });
        // The supervisor goes on with it in any case.
        let _confirmed = timeout(LISTEN_TIMEOUT, listening).await;
    }

    pub(super) fn is_up(&self) -> bool {
        self.shared.established.borrow().is_some()
    }

    pub(super) async fn publish(
        &self,
        to: IncarnationId,
        message: String,
        deadline: Instant,
    ) -> Published {
        let Some(established) = self.shared.established.borrow().clone() else {
            return Published::NotSent;
        };
        let channel = self.shared.channel_of(to);
        let client = &established.publisher;
        connection::publish(client, channel, message, deadline, self.shared.is_cluster).await
    }

    pub(super) async fn close(&self) {
        if let Some(supervisor) = self.take_supervisor() {
            supervisor.abort();
            // It ends by that.
            let _aborted = supervisor.await;
        }
        self.shared.established.send_replace(None);
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
    /// The channel of one incarnation.
    fn channel_of(&self, incarnation: IncarnationId) -> String {
        format!("{}:instance:{incarnation}", self.channel)
    }
}
