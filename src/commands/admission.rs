//! Admission: whether a request may be stored, and its place at a reply slot.

use std::sync::Arc;

use uuid::Uuid;

use super::{CommandRequest, Commands};
use crate::{
    domain::{Action, CommandOrigin, DisconnectReason, Timestamp},
    sessions::{Session, SlotError, SlotReservation},
};

/// Who waits for the outcome of a request.
#[derive(Debug, Clone, Copy)]
pub(super) enum Requester {
    /// A caller at this instance; the command is new.
    Local,
    /// A caller at this instance, after a request to another one, which may have stored the command. For
    /// `vehicle_since` see [`NewCommand::vehicle_since`].
    ///
    /// [`NewCommand::vehicle_since`]: crate::store::NewCommand::vehicle_since
    LocalAfterRemote { id: Uuid, vehicle_since: Timestamp },
    /// Another instance, which waits until `expires_at`.
    Peer {
        id: Uuid,
        expires_at: Timestamp,
        vehicle_since: Timestamp,
    },
}

impl Requester {
    /// The id that the command has already; `None` if it has none.
    pub(super) fn command_id(self) -> Option<Uuid> {
        match self {
            Self::Local => None,
            Self::LocalAfterRemote { id, .. } | Self::Peer { id, .. } => Some(id),
        }
    }

    /// See [`NewCommand::vehicle_since`](crate::store::NewCommand::vehicle_since).
    pub(super) fn vehicle_since(self) -> Option<Timestamp> {
        match self {
            Self::Local => None,
            Self::LocalAfterRemote { vehicle_since, .. } | Self::Peer { vehicle_since, .. } => {
                Some(vehicle_since)
            }
        }
    }
}

/// Whether a request may be stored.
pub(super) enum QueueAdmission {
    /// The request may be stored and has a place at a reply slot.
    Place(SlotReservation),
    /// The request may be stored. Its delivery looks for a place if it needs one.
    NoPlace,
    /// The queue of the session is full. The request may pass only if it repeats an earlier one, by its idempotency
    /// key, because then it needs no place.
    RepeatOnly,
    /// The queue of the session is full.
    TooMany,
    /// The session is ending, and the command cannot wait for the next one: the vehicle counts as offline.
    Offline,
}

impl Commands {
    /// Takes a place at the reply slot of `session`, if the vehicle has a session here. `id` is the id of a command
    /// that has one already.
    pub(super) fn admit(
        &self,
        request: &CommandRequest,
        origin: CommandOrigin,
        session: Option<Arc<Session>>,
        id: Option<Uuid>,
    ) -> QueueAdmission {
        let Some(session) = session else {
            return QueueAdmission::NoPlace;
        };
        let (kind, queue) = (request.action.answer_kind(), self.options.queue);
        let entered = match id {
            None => session.reserve_slot(kind, queue),
            Some(id) => session.reserve_slot_for(kind, queue, id),
        };
        match entered {
            Ok(reservation) => QueueAdmission::Place(reservation),
            Err(SlotError::QueueFull) if request.key.is_some() => QueueAdmission::RepeatOnly,
            Err(SlotError::QueueFull) => QueueAdmission::TooMany,
            // The session is ending. A command that cannot wait for the next login ends at once, because its vehicle
            // counts as offline. But a vehicle that is sent to another instance is back within moments.
            Err(SlotError::SessionClosed)
                if self.is_newest(&session)
                    && !waits_for_login(request)
                    && !self.reconnects_elsewhere(origin) =>
            {
                QueueAdmission::Offline
            }
            // A request that arrived twice has a place already: the store knows which of them is the repetition.
            Err(SlotError::SessionClosed | SlotError::Duplicate) => QueueAdmission::NoPlace,
        }
    }

    /// Whether a vehicle whose session ends now is expected at another instance: this one drains, the vehicle gets a
    /// grace, and there are peers. False for a broadcast, in which each instance serves its own vehicles.
    fn reconnects_elsewhere(&self, origin: CommandOrigin) -> bool {
        self.instance.is_draining()
            && origin != CommandOrigin::Broadcast
            && self
                .offline_grace
                .after(DisconnectReason::Shutdown)
                .is_some()
            && !self.peers.list().is_empty()
    }

    /// Whether the vehicle has no newer session here.
    fn is_newest(&self, session: &Session) -> bool {
        let current = self.registry.session(&session.key.device_id);
        current.is_none_or(|current| current.key == session.key)
    }
}

/// Whether the command of a request may wait for the next login.
fn waits_for_login(request: &CommandRequest) -> bool {
    request.queue.is_some() || matches!(request.action, Action::KeepMePosted(_))
}
