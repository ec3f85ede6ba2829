//! Messages between the instances on one database: through Redis, or none at all for an instance that is alone.
//!
//! Nothing depends on a message arriving: the database is the truth, and what is published may be lost, late or
//! doubled. So every request has a deadline, and [`Incoming::MayHaveMissed`] says when to look up what notices
//! would have told.

mod complaints;
mod link;
mod message;
mod pending;
mod reader;
mod servers;
mod wire;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use fred::clients::Client;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::{Instant, timeout, timeout_at},
};
use uuid::Uuid;

use complaints::Complaints;
use link::Link;
use pending::Pending;
use servers::{COMMAND_TIMEOUT, Published, Servers};
use wire::Reply;

pub use message::{
    Answer, Asked, Incoming, Notice, RemoteCommand, RemoteOutcome, Request, SessionOver,
};

/// Where Redis is.
#[derive(Clone)]
pub struct FanoutOptions {
    /// `redis://`, `rediss://` and the like, with the password.
    pub url: String,
    /// The same without secrets, for the log.
    pub shown: String,
    /// The channel that all instances hear, and the beginning of the names of their own.
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

/// Why there cannot be a [`Fanout`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("redis.url cannot be used: {0}")]
pub struct FanoutError(String);

/// Whether other instances can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanoutState {
    /// There is no Redis, so nobody to reach.
    None,
    /// What is published has been heard back within the last seconds.
    Up,
    /// Redis is away, or not heard of yet.
    Down,
}

/// Why a message was not, or may not have been, delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Redis is away or not configured. It certainly was not delivered.
    #[error("Redis is not available")]
    Unavailable,
    /// The other instance does not listen. Never said by a cluster, whose nodes count their own subscribers only.
    #[error("the other instance does not listen")]
    NobodyThere,
    /// Redis did not confirm it: it may have been delivered or not.
    #[error("Redis did not confirm the message")]
    Unconfirmed,
}

/// Why a request came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// Redis is away or not configured. The request certainly was not delivered.
    #[error("Redis is not available")]
    Unavailable,
    /// The other instance does not listen, so it was not delivered. Never said by a cluster.
    #[error("the other instance does not listen")]
    NobodyThere,
    /// No answer came by the deadline. Whether the request was delivered is unknown.
    #[error("the other instance did not answer")]
    NoAnswer,
    /// The other instance does not understand the request, and did nothing.
    #[error("the other instance does not understand the request")]
    Unsupported,
}

/// What arrived and waits to be worked on. Further messages are dropped.
const INCOMING: usize = 4096;
/// The longest that [`Fanout::begin_life`] waits for Redis.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(3);

/// The way to the other instances.
pub struct Fanout(Option<Redis>);

struct Redis {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// What those who send and those who hear have in common.
struct Shared {
    channel: String,
    is_cluster: bool,
    /// The life of this instance, set by [`Fanout::begin_life`]; a made-up one before, which nobody knows.
    life: watch::Sender<Uuid>,
    /// Set by the keeper while what is published comes back.
    up: watch::Sender<Option<Up>>,
    pending: Pending,
    complaints: Complaints,
}

/// The way is open.
#[derive(Clone)]
struct Up {
    client: Client,
    /// The life that hears what is published to it.
    life: Uuid,
}

impl Fanout {
    /// Without Redis: nobody else is there.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// Goes looking for Redis, which may be away, until it is closed or dropped. What others say comes out of
    /// the receiver. Must be called within a runtime.
    pub fn connect(
        options: FanoutOptions,
    ) -> Result<(Self, mpsc::Receiver<Incoming>), FanoutError> {
        let servers = Servers::new(&options.url)?;
        let shared = Arc::new(Shared {
            channel: options.channel,
            is_cluster: servers.is_cluster(),
            life: watch::Sender::new(Uuid::new_v4()),
            up: watch::Sender::new(None),
            pending: Pending::default(),
            complaints: Complaints::default(),
        });
        let (sender, incoming) = mpsc::channel(INCOMING);
        let link = Link {
            shared: Arc::clone(&shared),
            servers,
            shown: options.shown,
            incoming: sender,
        };
        let keeper = Mutex::new(Some(tokio::spawn(link.keep())));
        Ok((Self(Some(Redis { shared, keeper })), incoming))
    }

    /// Hears what is meant for this life of the instance from now on, and no more what is meant for an earlier
    /// one, whose requests under way get no answer any more. What is sent names this life. Returns when Redis
    /// has confirmed it; or when Redis is away or slow: then it is done as soon as Redis can.
    pub async fn begin_life(&self, id: Uuid) {
        let Some(Redis { shared, .. }) = &self.0 else {
            return;
        };
        let mut up = shared.up.subscribe();
        shared.life.send_replace(id);
        shared.pending.give_up();
        let heard = up.wait_for(|up| up.as_ref().is_none_or(|up| up.life == id));
        // The keeper goes on with it in any case.
        let _confirmed = timeout(BEGIN_TIMEOUT, heard).await;
    }

    /// Whether others can be reached.
    #[must_use]
    pub fn state(&self) -> FanoutState {
        match &self.0 {
            None => FanoutState::None,
            Some(redis) if redis.shared.up.borrow().is_some() => FanoutState::Up,
            Some(_) => FanoutState::Down,
        }
    }

    /// Tells another instance something.
    pub async fn notify(&self, to: Uuid, notice: &Notice) -> Result<(), SendError> {
        let redis = self.0.as_ref().ok_or(SendError::Unavailable)?;
        redis.send(to, |life| wire::notice(life, notice)).await
    }

    /// Asks another instance for something, and waits for its answer until the deadline.
    pub async fn ask(
        &self,
        to: Uuid,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, AskError> {
        let shared = &self.0.as_ref().ok_or(AskError::Unavailable)?.shared;
        let correlation = Uuid::new_v4();
        let mut waiting = shared.pending.wait(correlation);
        let encode = |life| wire::request(life, correlation, request);
        match shared.publish(to, encode, deadline).await {
            Published::Not => return Err(AskError::Unavailable),
            Published::ToNobody => return Err(AskError::NobodyThere),
            // It may have arrived.
            Published::Sent | Published::Unknown => {}
        }
        let Ok(Some(reply)) = timeout_at(deadline, waiting.reply()).await else {
            return Err(AskError::NoAnswer);
        };
        match (request, reply) {
            (Request::Command(_), Reply::Answer(answer @ Answer::Command(_)))
            | (Request::Broadcast { .. }, Reply::Answer(answer @ Answer::Broadcast(_))) => {
                Ok(answer)
            }
            (_, Reply::Answer(_) | Reply::Unsupported) => Err(AskError::Unsupported),
        }
    }

    /// Answers what another instance asked.
    pub async fn answer(&self, asked: &Asked, answer: &Answer) -> Result<(), SendError> {
        let redis = self.0.as_ref().ok_or(SendError::Unavailable)?;
        let encode = |life| wire::answer(life, asked.correlation, answer);
        redis.send(asked.origin, encode).await
    }

    /// Leaves Redis. Nothing is heard or sent any more, and requests under way get no answer.
    pub async fn close(&self) {
        let Some(redis) = &self.0 else { return };
        if let Some(keeper) = redis.take_keeper() {
            keeper.abort();
            // It ends by that.
            let _aborted = keeper.await;
        }
        redis.shared.up.send_replace(None);
        redis.shared.pending.give_up();
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fanout").field(&self.state()).finish()
    }
}

impl Redis {
    async fn send(&self, to: Uuid, encode: impl FnOnce(Uuid) -> String) -> Result<(), SendError> {
        let deadline = Instant::now() + COMMAND_TIMEOUT;
        match self.shared.publish(to, encode, deadline).await {
            Published::Sent => Ok(()),
            Published::ToNobody => Err(SendError::NobodyThere),
            Published::Not => Err(SendError::Unavailable),
            Published::Unknown => Err(SendError::Unconfirmed),
        }
    }

    fn take_keeper(&self) -> Option<JoinHandle<()>> {
        let mut keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner);
        keeper.take()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if let Some(keeper) = self.take_keeper() {
            keeper.abort();
        }
    }
}

impl Shared {
    /// The channel of an instance.
    fn channel_of(&self, life: Uuid) -> String {
        format!("{}:instance:{life}", self.channel)
    }

    /// Publishes to another instance what is encoded for the present life.
    async fn publish(
        &self,
        to: Uuid,
        encode: impl FnOnce(Uuid) -> String,
        deadline: Instant,
    ) -> Published {
        let Some(up) = self.up.borrow().clone() else {
            return Published::Not;
        };
        let message = encode(*self.life.borrow());
        let channel = self.channel_of(to);
        servers::publish(&up.client, channel, message, deadline, self.is_cluster).await
    }
}
