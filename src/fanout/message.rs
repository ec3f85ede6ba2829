//! The messages between instances, independent of how they travel.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::{
    Action, Broadcast, CommandOutcome, DeviceId, DisconnectReason, IncarnationId, Timestamp,
};

/// A message that arrived at this instance, or the report that some may have been lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FanoutEvent {
    /// A request of another instance, which waits for [`Fanout::answer`](super::Fanout::answer).
    Request(ReplyAddress, PeerRequest),
    /// A notice of another instance, which needs no answer.
    Notice(Notice),
    /// A command that a person or a program published on the shared channel, to which all instances subscribe. Only the
    /// instance that holds the vehicle may execute it.
    ChannelCommand {
        /// The vehicle.
        device_id: DeviceId,
        /// The action to ask of it.
        action: Action,
    },
    /// Messages may have been lost. Ended sessions, which notices would have reported, have to be found in the store.
    MayHaveMissed,
}

/// Where the answer to a request goes: the incarnation that sent it, and the id of the request there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyAddress {
    pub(super) origin: IncarnationId,
    pub(super) correlation: Uuid,
}

impl ReplyAddress {
    /// The incarnation that sent the request.
    #[must_use]
    pub fn origin(&self) -> IncarnationId {
        self.origin
    }
}

/// A request to another instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerRequest {
    /// Send a command to a vehicle whose session the receiver holds.
    Command(RemoteCommand),
    /// Send a command to every vehicle whose session the receiver holds.
    Broadcast {
        /// The action to ask of the vehicles.
        action: Action,
        /// How long to wait for the vehicles' answers.
        timeout: Duration,
    },
}

/// A command that the requester, the instance which a client asked, sends to the owner, the instance that holds the
/// vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCommand {
    /// The command's id, chosen by the requester, which can look for the command in the store by it.
    pub id: Uuid,
    /// The vehicle.
    pub device_id: DeviceId,
    /// The action to ask of it.
    pub action: Action,
    /// How long to wait for the vehicle's answer, counted from the arrival of the request.
    pub timeout: Duration,
    /// From this time on, by the clock of the database, the command must not be stored, claimed or written.
    pub expires_at: Timestamp,
    /// How long to keep the command for the next login, if the vehicle is offline or goes offline before the command is
    /// sent; `None` to cancel the command then.
    pub queue: Option<Duration>,
    /// The idempotency key of the requester's client, if it gave one.
    pub key: Option<String>,
    /// When the vehicle was created that the request is for, or a later time that something of it was stamped with. A
    /// vehicle that was created later is another one with the same id. Earlier versions do not send it.
    pub vehicle_since: Option<Timestamp>,
}

/// The answer to a [`PeerRequest`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PeerAnswer {
    /// The answer to [`PeerRequest::Command`].
    Command(CommandOutcome),
    /// The answer to [`PeerRequest::Broadcast`]: the counts of the receiver's vehicles.
    Broadcast(Broadcast),
}

/// A message that needs no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A commit of the sender has ended these sessions, which the receiver held.
    SessionsEnded(Vec<EndedSessions>),
}

impl Notice {
    /// How many sessions one notice may name: it must be shorter than the longest message that is read.
    pub const MOST_SESSIONS: usize = 4096;
}

/// The sessions of one vehicle that have ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndedSessions {
    /// The vehicle.
    pub device_id: DeviceId,
    /// The epoch of the newest session that has ended. All sessions of the vehicle up to this epoch have ended.
    pub through_epoch: i64,
    /// Why they ended.
    pub reason: DisconnectReason,
}
