//! One session that this instance holds.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{
    connection_handle::{CommandWrite, ConnectionHandle},
    reply_slots::{Abandoned, Admission, MatchedCommand, ReplySlots, SlotError},
};
use crate::domain::{Action, AnswerKind, DisconnectReason, SessionKey, Timestamp};

/// Notifies a queued command that its slot is granted; dropped if the session ends first.
type GrantSender = oneshot::Sender<()>;

/// A session that this instance holds.
#[derive(Debug)]
pub struct Session {
    /// The vehicle and the session's epoch.
    pub key: SessionKey,
    handle: Arc<ConnectionHandle>,
    /// The lock is held for a few instructions, never across an await. Written by the commands of the session and by
    /// its connection.
    slots: Mutex<ReplySlots<GrantSender>>,
    /// The last heartbeat in milliseconds since 1970, 0 before the first. Only grows. Written by the session's
    /// connection.
    heartbeat: AtomicI64,
    /// The heartbeat that the last flush took. Written by the flush.
    flushed: AtomicI64,
}

impl Session {
    /// A session whose connection is reached through `handle`.
    #[must_use]
    pub fn new(key: SessionKey, handle: Arc<ConnectionHandle>) -> Self {
        Self {
            key,
            handle,
            slots: Mutex::default(),
            heartbeat: AtomicI64::new(0),
            flushed: AtomicI64::new(0),
        }
    }

    /// Notes a heartbeat, in memory only. One that the clock puts before the last leaves the last: a clock may be set
    /// back.
    pub fn heartbeat(&self, at: Timestamp) {
        self.heartbeat.fetch_max(at.as_millis(), Ordering::Relaxed);
    }

    /// The last heartbeat, if there was one.
    #[must_use]
    pub fn last_heartbeat(&self) -> Option<Timestamp> {
        let millis = self.heartbeat.load(Ordering::Relaxed);
        (millis != 0).then(|| Timestamp::from_millis(millis))
    }

    /// The last heartbeat, unless an earlier call returned it.
    pub(super) fn take_heartbeat(&self) -> Option<Timestamp> {
        let last = self.last_heartbeat()?;
        (self.flushed.swap(last.as_millis(), Ordering::Relaxed) != last.as_millis()).then_some(last)
    }

    /// Reserves the reply slot of `kind` for a new command; at most `queue_limit` commands wait for slots of the
    /// session. The ids of new commands ascend in the order of their reservations.
    pub fn reserve_slot(
        self: &Arc<Self>,
        kind: AnswerKind,
        queue_limit: usize,
    ) -> Result<SlotReservation, SlotError> {
        self.reserve(kind, queue_limit, Uuid::now_v7)
    }

    /// Reserves the reply slot of `kind` for a command that has an id already.
    pub fn reserve_slot_for(
        self: &Arc<Self>,
        kind: AnswerKind,
        queue_limit: usize,
        id: Uuid,
    ) -> Result<SlotReservation, SlotError> {
        self.reserve(kind, queue_limit, || id)
    }

    fn reserve(
        self: &Arc<Self>,
        kind: AnswerKind,
        queue_limit: usize,
        id: impl FnOnce() -> Uuid,
    ) -> Result<SlotReservation, SlotError> {
        let (sender, receiver) = oneshot::channel();
        let (id, admission) = self.with_slots(|slots| {
            // Under the lock, so that ids are ordered as the queue is.
            let id = id();
            (id, slots.reserve(kind, id, sender, queue_limit))
        });
        Ok(SlotReservation {
            id,
            session: Arc::clone(self),
            grant: match admission? {
                Admission::Granted(_) => None,
                Admission::Queued => Some(receiver),
            },
        })
    }

    /// Whether a dispatched command may be written now. If so, the next answer of its kind belongs to it.
    #[must_use]
    pub fn begin_write(&self, id: Uuid) -> bool {
        self.with_slots(|slots| slots.begin_write(id))
    }

    /// The command that an answer of `kind` belongs to; `None` if the answer is unsolicited.
    pub fn match_answer(&self, kind: AnswerKind) -> Option<MatchedCommand> {
        let (matched, next) = self.with_slots(|slots| slots.answer(kind))?;
        notify(next);
        Some(matched)
    }

    /// Abandons a command: nobody waits for its answer any more.
    pub fn abandon(&self, id: Uuid) -> Abandoned {
        let (abandoned, next) = self.with_slots(|slots| slots.abandon(id));
        notify(next);
        abandoned
    }

    /// Frees the slot of an abandoned command whose late answer is no longer expected.
    pub fn release_slot(&self, id: Uuid) {
        notify(self.with_slots(|slots| slots.release(id)));
    }

    /// Lets no further command be written, because the gateway is about to say goodbye. Those that are written may
    /// still be answered.
    pub fn stop_commands(&self) {
        self.with_slots(ReplySlots::stop);
    }

    /// Whether a command is written that was neither answered nor abandoned.
    #[must_use]
    pub fn awaits_answers(&self) -> bool {
        self.with_slots(|slots| slots.awaits_answers())
    }

    /// Frees all slots and refuses further commands; queued reservations fail with [`SlotError::SessionClosed`].
    pub(super) fn close_slots(&self) {
        self.with_slots(ReplySlots::close);
    }

    /// Asks the session's connection to close without a goodbye.
    pub fn close(&self, reason: DisconnectReason) {
        self.close_slots();
        self.handle.close(reason);
    }

    fn with_slots<R>(&self, work: impl FnOnce(&mut ReplySlots<GrantSender>) -> R) -> R {
        work(&mut self.slots.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Notifies the command that was granted a slot. If its reservation was dropped meanwhile, the drop frees the slot.
fn notify(next: Option<GrantSender>) {
    if let Some(grant) = next {
        let _dropped = grant.send(());
    }
}

/// A command's place in the queue for a reply slot, or the slot itself. Dropping it cancels the reservation, unless the
/// command was dispatched.
#[derive(Debug)]
pub struct SlotReservation {
    id: Uuid,
    session: Arc<Session>,
    /// `None` once the slot is known to be granted.
    grant: Option<oneshot::Receiver<()>>,
}

impl SlotReservation {
    /// The command's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The session that the slot belongs to.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the slot was granted at once, or [`SlotReservation::granted`] has returned.
    #[must_use]
    pub fn is_granted(&self) -> bool {
        self.grant.is_none()
    }

    /// Waits until the slot is granted; fails if the session takes no more commands.
    pub async fn granted(&mut self) -> Result<(), SlotError> {
        if let Some(grant) = &mut self.grant {
            grant.await.map_err(|_| SlotError::SessionClosed)?;
            self.grant = None;
        }
        Ok(())
    }

    /// Hands a claimed command to the connection, which writes it before `deadline` or never. From here on the command
    /// ends with its answer, by [`Session::abandon`] or with the session.
    pub fn dispatch(self, action: Action, deadline: Instant) {
        if self.session.with_slots(|slots| slots.dispatch(self.id)) {
            self.session.handle.write(CommandWrite {
                id: self.id,
                action,
                deadline,
            });
        }
    }
}

impl Drop for SlotReservation {
    fn drop(&mut self) {
        notify(self.session.with_slots(|slots| slots.cancel(self.id)));
    }
}
