//! What the writer is asked to do. Everything that changes a table is one of these.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use tokio::{sync::oneshot, time::Instant};

use super::{StoreError, webhooks::WebhookIntent};
use uuid::Uuid;

use crate::domain::{
    Action, Answer, Command, CommandOrigin, DeviceId, DisconnectReason, ReportInterval, SessionKey,
    Timestamp, Vehicle, VehicleState,
};

/// A login that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The epoch of the new session.
    pub epoch: i64,
    /// The report interval that an operator wants.
    pub desired: Option<ReportInterval>,
    /// Commands that waited for the login, oldest first.
    pub queued: Vec<(Uuid, Action)>,
}

/// A command to store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCommand {
    /// Its id.
    pub id: Uuid,
    /// Of which vehicle.
    pub device_id: DeviceId,
    /// What is asked.
    pub action: Action,
    /// Who asks.
    pub origin: CommandOrigin,
    /// When.
    pub at: Timestamp,
    /// From when on it must not be written.
    pub expires_at: Timestamp,
    /// The session, by its epoch, that will write it as soon as it is stored: then it is stored as `sent`.
    pub claim: Option<i64>,
    /// If the vehicle is offline: wait for its login, until then.
    pub queue_until: Option<Timestamp>,
    /// The caller's name for the request.
    pub key: Option<IdempotencyKey>,
    /// Only what the name stands for already is wanted: there is no room for another command.
    pub repeat_only: bool,
    /// Since when another instance may have stored it: then it is sent from here, if it is not yet. If nothing is known of
    /// it, a vehicle that was made later is another one, and the record of the command may have gone with the one before.
    pub may_exist_since: Option<Timestamp>,
}

/// A caller's name for a request, so that repeating it does nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The name, 1 to 128 bytes.
    pub key: String,
    /// The request as text, up to 160 bytes: the same key with another text is a mistake.
    pub request: String,
}

/// What became of a [`NewCommand`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Submitted {
    /// It is stored: `created`, `queued`, or `sent` if it could be claimed at once; with the epoch of the
    /// vehicle's newest session.
    Stored(Command, i64),
    /// The key stands for this command already.
    Repeated(Command),
    /// The key stands for another request.
    KeyReused,
    /// The key stands for nothing yet, and only a repeat was wanted.
    NoRoom,
    /// Its time was over before it could be stored, and whoever asked has been told so.
    TooLate,
    /// There is no such vehicle.
    UnknownVehicle,
    /// The vehicle is offline; nothing is stored.
    Offline,
    /// The vehicle is offline; the interval is stored with it and there is no command.
    Desired(ReportInterval),
}

/// What became of a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Claimed {
    /// It is this session's to write, as it is told here.
    Claimed(Command),
    /// The session does not hold the vehicle.
    Moved,
    /// It cannot be claimed any more.
    Ended(Command),
    /// There is no such command.
    Gone,
}

/// A change of a command that the gateway makes by itself; each is made only from the states that it names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandTransition {
    /// It was not claimed in time.
    Expire,
    /// It was not claimed, and the vehicle is offline.
    Cancel,
    /// It was not claimed, and another one says the same.
    Supersede,
    /// It was not claimed, and the vehicle is offline: it waits for the login until then.
    Queue(Timestamp),
    /// It was not written, claimed or not, and never will be.
    Unwritten,
    /// It was written and not answered in time.
    NoAnswer,
}

/// Another live instance on the same database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its incarnation.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// How often it has committed.
    pub renewals: i64,
}

/// A peer that stopped renewing its row: declared dead unless it has committed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StalledPeer {
    /// Its incarnation.
    pub id: Uuid,
    /// How often it had committed when it was seen last.
    pub renewals: i64,
}

/// The instances on this database, as of a commit of this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// The other live instances.
    pub peers: Vec<Peer>,
    /// Dead incarnations, which vehicles may still name as their holder.
    pub dead: Vec<Uuid>,
    /// The names of the peers that this request declared dead.
    pub declared_dead: Vec<String>,
}

/// Sessions that another instance holds and that are over by a commit of this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The incarnation that holds them.
    pub owner: Uuid,
    /// Of which vehicle.
    pub device_id: DeviceId,
    /// Up to this epoch.
    pub through_epoch: i64,
    /// Why.
    pub reason: DisconnectReason,
}

/// Which sessions are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostSessions {
    /// All: this process owns the database, so every session is one of a process before it.
    All,
    /// Those of a dead incarnation; a vehicle is offline unless it comes back within this time, if there is one.
    OfIncarnation(Uuid, Option<Duration>),
}

/// What became of a write of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// The vehicle's row no longer names this session: nothing is stored.
    Stale,
}

/// A vehicle that was asked to exist.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The vehicle as it is now.
    pub vehicle: Vehicle,
    /// False if it was there before.
    pub created: bool,
}

/// A write that is valid only while its session holds the vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionWrite {
    /// A report: a row of history, and the vehicle's state.
    Report(VehicleState),
    /// A crash dump.
    DebugBlob(Bytes),
    /// The report interval that the vehicle says it keeps.
    KeepMePosted(ReportInterval),
    /// The answer to a command.
    Answer {
        /// Which command.
        id: Uuid,
        /// It came after the command was given up.
        late: bool,
        /// What the vehicle said.
        answer: Answer,
    },
    /// The session is over.
    End {
        /// Why.
        reason: DisconnectReason,
        /// The last heartbeat, unless a flush has taken it already.
        last_heartbeat: Option<Timestamp>,
        /// How long the vehicle may take to come back before it is offline, if it is not at once.
        grace: Option<Duration>,
    },
}

/// One small step of forgetting old rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Reports received before this time.
    Reports(Timestamp),
    /// Debug blobs received before this time.
    DebugBlobs(Timestamp),
    /// Commands that were made before this time and are over.
    Commands(Timestamp),
    /// Idempotency keys made before this time.
    Keys(Timestamp),
    /// Messages of webhooks that were made before this time.
    Messages(Timestamp),
    /// What deleted endpoints of webhooks left.
    DeletedEndpoints,
    /// The history of a deleted life of a vehicle, up to and including this time.
    Forgotten(DeviceId, Timestamp),
}

/// Something for the writer to do, with the place where its outcome goes.
pub(super) enum Intent {
    Login {
        device_id: DeviceId,
        remote: SocketAddr,
        at: Timestamp,
        reply: Reply<Login>,
    },
    Session {
        session: SessionKey,
        at: Timestamp,
        write: SessionWrite,
        reply: Reply<Written>,
    },
    Heartbeats {
        beats: Vec<(SessionKey, Timestamp)>,
        reply: Reply<()>,
    },
    /// Sessions that a life left behind.
    EndLost {
        devices: Vec<DeviceId>,
        whose: LostSessions,
        at: Timestamp,
        reply: Reply<()>,
    },
    /// Vehicles whose time to come back may be over.
    EndGrace {
        devices: Vec<DeviceId>,
        at: Timestamp,
        reply: Reply<()>,
    },
    Membership {
        stalled: Vec<StalledPeer>,
        buried: Vec<Uuid>,
        reply: Reply<Membership>,
    },
    Register {
        device_id: DeviceId,
        at: Timestamp,
        reply: Reply<Registered>,
    },
    StatusUpdate {
        device_id: DeviceId,
        at: Timestamp,
        state: VehicleState,
        reply: Reply<Vehicle>,
    },
    Delete {
        device_id: DeviceId,
        at: Timestamp,
        /// The epoch of the deleted life, if there was a vehicle.
        reply: Reply<Option<i64>>,
    },
    /// The history of a deleted life is gone; its mark may go as well.
    Forgotten {
        device_id: DeviceId,
        through: Timestamp,
        reply: Reply<()>,
    },
    Purge {
        step: Purge,
        reply: Reply<u64>,
    },
    Submit {
        command: Box<NewCommand>,
        reply: Reply<Submitted>,
    },
    Claim {
        id: Uuid,
        session: SessionKey,
        at: Timestamp,
        reply: Reply<Claimed>,
    },
    Finish {
        device_id: DeviceId,
        id: Uuid,
        ending: CommandTransition,
        at: Timestamp,
        /// The command as it is then; `None` if there is no such command.
        reply: Reply<Option<Command>>,
    },
    Webhook(Box<WebhookIntent>),
}

impl Intent {
    /// Bytes that the intent holds while it waits, in the queue's currency.
    pub(super) fn weight(&self) -> usize {
        const BASE: usize = 256;
        BASE + match self {
            Self::Session {
                write: SessionWrite::DebugBlob(content),
                ..
            } => content.len(),
            Self::Heartbeats { beats, .. } => size_of_val(beats.as_slice()),
            Self::EndLost { devices, .. } | Self::EndGrace { devices, .. } => devices.len() * 96,
            Self::Submit { .. } => size_of::<NewCommand>() + 128,
            Self::Webhook(intent) => intent.weight(),
            _ => 0,
        }
    }

    /// Whether room is kept for it when reports and blobs flood the queue.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            Self::Login { .. }
            | Self::EndLost { .. }
            | Self::EndGrace { .. }
            | Self::Membership { .. }
            | Self::Register { .. }
            | Self::Delete { .. }
            | Self::Submit { .. }
            | Self::Claim { .. }
            | Self::Finish { .. }
            | Self::Webhook(_)
            | Self::Session {
                write: SessionWrite::End { .. } | SessionWrite::Answer { .. },
                ..
            } => true,
            Self::Session { .. }
            | Self::Heartbeats { .. }
            | Self::StatusUpdate { .. }
            | Self::Forgotten { .. }
            | Self::Purge { .. } => false,
        }
    }

    /// The vehicles whose rows it reads and writes.
    pub(super) fn devices(&self) -> impl Iterator<Item = &DeviceId> {
        let (one, beats, many): (Option<&DeviceId>, &[(SessionKey, Timestamp)], &[DeviceId]) =
            match self {
                Self::Login { device_id, .. }
                | Self::Register { device_id, .. }
                | Self::StatusUpdate { device_id, .. }
                | Self::Delete { device_id, .. }
                | Self::Forgotten { device_id, .. }
                | Self::Finish { device_id, .. } => (Some(device_id), &[], &[]),
                Self::Submit { command, .. } => (Some(&command.device_id), &[], &[]),
                Self::Session { session, .. } | Self::Claim { session, .. } => {
                    (Some(&session.device_id), &[], &[])
                }
                Self::Heartbeats { beats, .. } => (None, beats, &[]),
                Self::EndLost { devices, .. } | Self::EndGrace { devices, .. } => {
                    (None, &[], devices)
                }
                Self::Purge { .. } | Self::Membership { .. } | Self::Webhook(_) => (None, &[], &[]),
            };
        one.into_iter()
            .chain(beats.iter().map(|(session, _)| &session.device_id))
            .chain(many)
    }

    /// The vehicles whose open commands it may touch.
    pub(super) fn devices_of_commands(&self) -> &[DeviceId] {
        match self {
            Self::Login { device_id, .. } | Self::Delete { device_id, .. } => {
                std::slice::from_ref(device_id)
            }
            Self::Session {
                session,
                write: SessionWrite::End { .. },
                ..
            } => std::slice::from_ref(&session.device_id),
            Self::Submit { command, .. } => std::slice::from_ref(&command.device_id),
            Self::Finish {
                device_id,
                ending: CommandTransition::Queue(_),
                ..
            } => std::slice::from_ref(device_id),
            Self::EndLost { devices, .. } => devices,
            _ => &[],
        }
    }

    /// The one command that it is about.
    pub(super) fn command(&self) -> Option<Uuid> {
        match self {
            Self::Submit { command, .. } => command.may_exist_since.map(|_| command.id),
            Self::Claim { id, .. }
            | Self::Finish { id, .. }
            | Self::Session {
                write: SessionWrite::Answer { id, .. },
                ..
            } => Some(*id),
            _ => None,
        }
    }

    /// The caller's key that it names, with its vehicle.
    pub(super) fn key(&self) -> Option<(&DeviceId, &IdempotencyKey)> {
        match self {
            Self::Submit { command, .. } => Some((&command.device_id, command.key.as_ref()?)),
            _ => None,
        }
    }

    /// Tells whoever waits that the batch is committed.
    pub(super) fn complete(self) {
        match self {
            Self::Login { reply, .. } => reply.send(),
            Self::Session { reply, .. } => reply.send(),
            Self::Heartbeats { reply, .. }
            | Self::EndLost { reply, .. }
            | Self::EndGrace { reply, .. }
            | Self::Forgotten { reply, .. } => reply.send(),
            Self::Membership { reply, .. } => reply.send(),
            Self::Register { reply, .. } => reply.send(),
            Self::StatusUpdate { reply, .. } => reply.send(),
            Self::Delete { reply, .. } => reply.send(),
            Self::Purge { reply, .. } => reply.send(),
            Self::Submit { reply, .. } => reply.send(),
            Self::Claim { reply, .. } => reply.send(),
            Self::Finish { reply, .. } => reply.send(),
            Self::Webhook(intent) => intent.complete(),
        }
    }

    /// Tells whoever waits that nothing of this intent is stored.
    pub(super) fn reject(self, error: StoreError) {
        match self {
            Self::Login { reply, .. } => reply.fail(error),
            Self::Session { reply, .. } => reply.fail(error),
            Self::Heartbeats { reply, .. }
            | Self::EndLost { reply, .. }
            | Self::EndGrace { reply, .. }
            | Self::Forgotten { reply, .. } => reply.fail(error),
            Self::Membership { reply, .. } => reply.fail(error),
            Self::Register { reply, .. } => reply.fail(error),
            Self::StatusUpdate { reply, .. } => reply.fail(error),
            Self::Delete { reply, .. } => reply.fail(error),
            Self::Purge { reply, .. } => reply.fail(error),
            Self::Submit { reply, .. } => reply.fail(error),
            Self::Claim { reply, .. } => reply.fail(error),
            Self::Finish { reply, .. } => reply.fail(error),
            Self::Webhook(intent) => intent.reject(error),
        }
    }
}

/// Where an intent's outcome goes: set by every attempt, sent once after the commit.
pub(super) struct Reply<T> {
    sender: oneshot::Sender<Result<T, StoreError>>,
    outcome: Option<Result<T, StoreError>>,
}

impl<T> Reply<T> {
    pub(super) fn channel() -> (Self, oneshot::Receiver<Result<T, StoreError>>) {
        let (sender, receiver) = oneshot::channel();
        (
            Self {
                sender,
                outcome: None,
            },
            receiver,
        )
    }

    /// What the attempt under way makes of the intent; a repeated attempt overwrites it.
    pub(super) fn set(&mut self, outcome: Result<T, StoreError>) {
        self.outcome = Some(outcome);
    }

    // A receiver that is gone has lost interest, which is its right: the write happened all the same.
    pub(super) fn send(self) {
        let outcome = self.outcome.unwrap_or(Err(StoreError::Closed));
        let _uninterested = self.sender.send(outcome);
    }

    pub(super) fn fail(self, error: StoreError) {
        let _uninterested = self.sender.send(Err(error));
    }
}

/// An intent in the queue.
pub(super) struct Queued {
    pub(super) intent: Intent,
    /// When the writer gives it up.
    pub(super) deadline: Instant,
    /// A row that it needs was locked by another instance: it is for the next batch. Set by every attempt.
    pub(super) deferred: bool,
    /// Its share of the queue, given back when it is dropped.
    pub(super) _room: tokio::sync::OwnedSemaphorePermit,
}
