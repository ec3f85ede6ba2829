//! What instances say to each other, free of how it travels.

use std::time::Duration;

use uuid::Uuid;

use crate::domain::{
    Action, Broadcast, Command, DeviceId, DisconnectReason, ReportInterval, Timestamp,
};

/// What arrived from elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    /// Another instance wants something, and waits for [`Fanout::answer`](super::Fanout::answer).
    Asked(Asked, Request),
    /// Another instance tells something that needs no answer.
    Told(Notice),
    /// Somebody published a command on the channel that all instances hear. All of them hear it, so only the
    /// one that holds the vehicle may act on it.
    Spoken {
        /// Of which vehicle.
        device_id: DeviceId,
        /// What is asked.
        action: Action,
    },
    /// Something may have been published that is not heard here: whatever notices tell must be looked up.
    MayHaveMissed,
}

/// A request that waits for its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    pub(super) origin: Uuid,
    pub(super) correlation: Uuid,
}

impl Asked {
    /// The life of the instance that asks.
    #[must_use]
    pub fn origin(&self) -> Uuid {
        self.origin
    }
}

/// What one instance wants of another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// A command to a vehicle whose session is there.
    Command(RemoteCommand),
    /// A command to every vehicle whose session is there.
    Broadcast {
        /// What is asked.
        action: Action,
        /// How long to wait for the vehicles' answers.
        timeout: Duration,
    },
}

/// A command that arrived at another instance than the one that holds the vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCommand {
    /// The command's id, by which the one that asks can look for it in the store.
    pub id: Uuid,
    /// Of which vehicle.
    pub device_id: DeviceId,
    /// What is asked.
    pub action: Action,
    /// How long to wait for the vehicle's answer, counted from the arrival of the request.
    pub timeout: Duration,
    /// From when on it is never written.
    pub expires_at: Timestamp,
    /// If the vehicle is offline, or goes offline first: keep it for the next login, so long at most.
    pub queue: Option<Duration>,
    /// The caller's idempotency key.
    pub key: Option<String>,
}

/// What came of a [`Request`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Of [`Request::Command`].
    Command(RemoteOutcome),
    /// Of [`Request::Broadcast`]: counts of the vehicles there.
    Broadcast(Broadcast),
}

/// What came of a [`RemoteCommand`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RemoteOutcome {
    /// The command in its final state, or `queued`.
    Ended(Command),
    /// The vehicle is offline; the interval is kept and sent at its next login.
    Desired(ReportInterval),
    /// The vehicle was never heard of, or is deleted.
    UnknownVehicle,
    /// The vehicle is offline.
    Offline,
    /// As many commands wait for the vehicle, or are under way at all, as may.
    TooMany,
    /// The idempotency key stands for another request.
    KeyReused,
    /// The store could not do it.
    StoreUnavailable,
    /// The session is not here, or not any more: look again where it is.
    Moved,
}

/// What one instance tells another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// These sessions of the one that is told have ended in the store.
    SessionsOver(Vec<SessionOver>),
}

/// The sessions of a vehicle up to an epoch are over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionOver {
    /// Of which vehicle.
    pub device_id: DeviceId,
    /// The newest of its sessions that is over.
    pub through_epoch: i64,
    /// Why.
    pub reason: DisconnectReason,
}
