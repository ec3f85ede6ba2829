//! The handle by which an instance exchanges messages with others.

use std::{fmt, sync::Arc, time::Duration};

use tokio::{
    sync::mpsc,
    time::{Instant, timeout_at},
};
use uuid::Uuid;

#[cfg(test)]
use super::memory::{MemoryTransport, Network};
use super::{
    codec::{self, PeerReply},
    message::{FanoutEvent, Notice, PeerAnswer, PeerRequest, ReplyAddress},
    participant::{Participant, Published},
    redis::{FanoutError, FanoutOptions, RedisTransport},
};
use crate::domain::IncarnationId;

/// Whether other instances can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FanoutState {
    /// Redis is not configured, so no instance can be reached.
    None,
    /// Redis is connected, and the messages that this instance sends to itself arrive.
    Up,
    /// Redis is unavailable, or the first connection is not established yet.
    Down,
}

/// Why a notice or an answer was not delivered, or may not have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Redis is unavailable or not configured. The message was not delivered.
    #[error("Redis is not available")]
    Unavailable,
    /// Nobody subscribes to the channel of the other instance: it has ended, or has lost Redis. Never returned with a
    /// Redis Cluster, whose nodes count only their own subscribers.
    #[error("the other instance does not listen")]
    NotListening,
    /// Redis did not confirm the message: it may have been delivered or not.
    #[error("Redis did not confirm the message")]
    Unconfirmed,
}

/// Why a request got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// Redis is unavailable or not configured. The request was not delivered.
    #[error("Redis is not available")]
    Unavailable,
    /// Nobody subscribes to the channel of the other instance, so the request was not delivered. Never returned with a
    /// Redis Cluster.
    #[error("the other instance does not listen")]
    NotListening,
    /// No answer came by the deadline, or none can come any more, because this instance listens as a new incarnation or
    /// has closed the fan-out. Whether the request was delivered is unknown.
    #[error("the other instance did not answer")]
    NoAnswer,
    /// The other instance does not understand the request and did nothing.
    #[error("the other instance does not understand the request")]
    Unsupported,
    /// An answer came that this instance does not understand, as from a later version. Whether the request was executed
    /// is unknown.
    #[error("the answer of the other instance cannot be understood")]
    UnreadableAnswer,
}

/// The longest that a notice or an answer may take to be published.
const SEND_TIMEOUT: Duration = Duration::from_secs(1);

/// The handle by which this instance sends messages to other instances. Their requests and notices go to the receiver
/// that [`Fanout::connect`] returns.
pub struct Fanout {
    participant: Arc<Participant>,
    transport: Transport,
}

/// How messages travel. An enum instead of a trait, because production has only one transport.
enum Transport {
    None,
    Redis(RedisTransport),
    /// Connects several instances in the process of a test, with losses and delays.
    #[cfg(test)]
    Memory(MemoryTransport),
}

impl Fanout {
    /// A fan-out that reaches no other instance.
    #[must_use]
    pub fn none() -> Self {
        Self {
            participant: Arc::default(),
            transport: Transport::None,
        }
    }

    /// Connects to Redis in the background, and reconnects until the fan-out is closed or dropped: Redis may be
    /// unavailable at any time. The receiver yields what other instances send. Fails only if the options cannot be
    /// used. Must be called within a tokio runtime.
    pub fn connect(
        options: FanoutOptions,
    ) -> Result<(Self, mpsc::Receiver<FanoutEvent>), FanoutError> {
        let participant = Arc::<Participant>::default();
        let (redis, events) = RedisTransport::connect(options, Arc::clone(&participant))?;
        let fanout = Self {
            participant,
            transport: Transport::Redis(redis),
        };
        Ok((fanout, events))
    }

    /// A fan-out that reaches the other instances on a network of a test.
    #[cfg(test)]
    pub(crate) fn join(network: &Network) -> (Self, mpsc::Receiver<FanoutEvent>) {
        let participant = Arc::<Participant>::default();
        let (memory, events) = MemoryTransport::join(network, Arc::clone(&participant));
        let fanout = Self {
            participant,
            transport: Transport::Memory(memory),
        };
        (fanout, events)
    }

    /// Receives the messages to `incarnation` from now on, in place of those to an earlier one, and names it as the
    /// origin of the messages that are sent. Requests that the earlier one sent get no answer any more.
    ///
    /// Returns once a message to `incarnation` has arrived; if Redis is unavailable or slow, returns earlier, and the
    /// supervisor goes on subscribing.
    pub async fn listen_as(&self, incarnation: IncarnationId) {
        self.participant.incarnation.send_replace(incarnation);
        self.participant.pending.abandon_all();
        match &self.transport {
            Transport::None => {}
            Transport::Redis(redis) => redis.listening_as(incarnation).await,
            #[cfg(test)]
            Transport::Memory(memory) => memory.listen_as(incarnation),
        }
    }

    /// Whether other instances can be reached.
    #[must_use]
    pub fn state(&self) -> FanoutState {
        let is_up = match &self.transport {
            Transport::None => return FanoutState::None,
            Transport::Redis(redis) => redis.is_up(),
            #[cfg(test)]
            Transport::Memory(memory) => memory.is_up(),
        };
        if is_up {
            FanoutState::Up
        } else {
            FanoutState::Down
        }
    }

    /// Why other instances cannot be reached, for people; `None` while they can, and if Redis is not configured.
    #[must_use]
    pub fn outage(&self) -> Option<String> {
        match &self.transport {
            Transport::None => None,
            Transport::Redis(redis) => redis.outage(),
            #[cfg(test)]
            Transport::Memory(_) => None,
        }
    }

    /// Sends a notice to another instance.
    pub async fn notify(&self, to: IncarnationId, notice: &Notice) -> Result<(), SendError> {
        let message = codec::encode_notice(self.incarnation(), notice);
        self.send(to, message).await
    }

    /// Sends a request to another instance and waits for its answer until the deadline.
    pub async fn request(
        &self,
        to: IncarnationId,
        request: &PeerRequest,
        deadline: Instant,
    ) -> Result<PeerAnswer, RequestError> {
        let correlation = Uuid::new_v4();
        let mut pending = self.participant.pending.register(correlation);
        let message = codec::encode_request(self.incarnation(), correlation, request);
        match self.publish(to, message, deadline).await {
            Published::NotSent => return Err(RequestError::Unavailable),
            Published::NotListening => return Err(RequestError::NotListening),
            // An unconfirmed request may have been delivered, so it may be answered.
            Published::Sent | Published::Unconfirmed => {}
        }
        let Ok(Some(reply)) = timeout_at(deadline, pending.reply()).await else {
            return Err(RequestError::NoAnswer);
        };
        match (request, reply) {
            (PeerRequest::Command(_), PeerReply::Answer(answer @ PeerAnswer::Command(_)))
            | (
                PeerRequest::Broadcast { .. },
                PeerReply::Answer(answer @ PeerAnswer::Broadcast(_)),
            ) => Ok(answer),
            (_, PeerReply::Unsupported) => Err(RequestError::Unsupported),
            (_, PeerReply::Answer(_) | PeerReply::Unreadable) => {
                Err(RequestError::UnreadableAnswer)
            }
        }
    }

    /// Answers a request of another instance.
    pub async fn answer(&self, to: &ReplyAddress, answer: &PeerAnswer) -> Result<(), SendError> {
        let message = codec::encode_answer(self.incarnation(), to.correlation, answer);
        self.send(to.origin, message).await
    }

    /// Disconnects. Nothing is received or sent any more, and pending requests get no answer.
    pub async fn close(&self) {
        match &self.transport {
            Transport::None => {}
            Transport::Redis(redis) => redis.close().await,
            #[cfg(test)]
            Transport::Memory(memory) => memory.close(),
        }
        self.participant.pending.abandon_all();
    }

    fn incarnation(&self) -> IncarnationId {
        *self.participant.incarnation.borrow()
    }

    async fn send(&self, to: IncarnationId, message: String) -> Result<(), SendError> {
        let deadline = Instant::now() + SEND_TIMEOUT;
        match self.publish(to, message, deadline).await {
            Published::Sent => Ok(()),
            Published::NotListening => Err(SendError::NotListening),
            Published::NotSent => Err(SendError::Unavailable),
            Published::Unconfirmed => Err(SendError::Unconfirmed),
        }
    }

    async fn publish(&self, to: IncarnationId, message: String, deadline: Instant) -> Published {
        match &self.transport {
            Transport::None => Published::NotSent,
            Transport::Redis(redis) => redis.publish(to, message, deadline).await,
            #[cfg(test)]
            Transport::Memory(memory) => memory.publish(to, &message),
        }
    }
}

impl fmt::Debug for Fanout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Fanout").field(&self.state()).finish()
    }
}
