//! The reply slots of one session. A vehicle's answers carry no command id, so at most one command of each answer kind
//! may be outstanding; the others wait in a queue, in order.
//!
//! Pure: no clock, no channel. `T` notifies a queued command that its slot is granted; every method that frees a slot
//! returns the `T` of the next command in the queue, and the caller must use it.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::domain::AnswerKind;

/// How far the command in a slot has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SlotState {
    /// The slot is granted; the command is being claimed in the store.
    Granted,
    /// The command is claimed and handed to the connection.
    Dispatched,
    /// The command is written: the next answer of its kind belongs to it.
    Written,
    /// The command was abandoned after it was written. The next answer of its kind still belongs to it, and until then
    /// no other command of its kind may be written.
    Abandoned,
}

#[derive(Debug)]
struct ReplySlot {
    kind: AnswerKind,
    id: Uuid,
    state: SlotState,
}

#[derive(Debug)]
struct QueuedCommand<T> {
    kind: AnswerKind,
    id: Uuid,
    notify: T,
}

/// The outcome of reserving a slot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Admission<T> {
    /// The slot was free and is granted; returns the `notify` of the caller, which is not needed.
    Granted(T),
    /// The slot is taken, and the command is queued for it.
    Queued,
}

/// Why a command cannot be queued for a reply slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotError {
    /// The queue of the session is full.
    #[error("too many commands wait for this vehicle")]
    QueueFull,
    /// The session has ended or is about to end.
    #[error("the session takes no more commands")]
    SessionClosed,
    /// A command with this id has a slot or is queued already.
    #[error("the command is queued already")]
    Duplicate,
}

/// The command that an answer belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MatchedCommand {
    /// The command's id.
    pub id: Uuid,
    /// Whether the command was abandoned before the answer came.
    pub late: bool,
}

/// The state in which a command was abandoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// The command was not written and never will be.
    Unwritten,
    /// The command was written. Its slot stays taken until the late answer comes or `ReplySlots::release` is called.
    Written,
    /// The command has no slot any more: it was answered, or the session ended.
    Settled,
}

/// The reply slots of one session and the commands that wait for them. Allocates nothing while there are no commands.
#[derive(Debug)]
pub(super) struct ReplySlots<T> {
    /// The slots that are taken, at most one of each kind.
    taken: Vec<ReplySlot>,
    queue: VecDeque<QueuedCommand<T>>,
    closed: bool,
}

impl<T> Default for ReplySlots<T> {
    fn default() -> Self {
        Self {
            taken: Vec::new(),
            queue: VecDeque::new(),
            closed: false,
        }
    }
}

impl<T> ReplySlots<T> {
    /// Takes the slot of `kind`, or queues for it unless `queue_limit` commands are queued already.
    pub(super) fn reserve(
        &mut self,
        kind: AnswerKind,
        id: Uuid,
        notify: T,
        queue_limit: usize,
    ) -> Result<Admission<T>, SlotError> {
        if self.closed {
            return Err(SlotError::SessionClosed);
        }
        // A reservation is cancelled by its id: a second one of the same id would cancel the first.
        let is_known = self.taken.iter().any(|slot| slot.id == id)
            || self.queue.iter().any(|queued| queued.id == id);
        if is_known {
            return Err(SlotError::Duplicate);
        }
        // No command is queued for a free slot: freeing a slot grants it to the next command in the queue.
        if !self.taken.iter().any(|slot| slot.kind == kind) {
            self.take(kind, id);
            return Ok(Admission::Granted(notify));
        }
        if self.queue.len() >= queue_limit {
            return Err(SlotError::QueueFull);
        }
        self.queue.push_back(QueuedCommand { kind, id, notify });
        Ok(Admission::Queued)
    }

    fn take(&mut self, kind: AnswerKind, id: Uuid) {
        self.taken.push(ReplySlot {
            kind,
            id,
            state: SlotState::Granted,
        });
    }

    /// Cancels the reservation of a command that was not dispatched, whether it is queued or granted.
    pub(super) fn cancel(&mut self, id: Uuid) -> Option<T> {
        self.queue.retain(|queued| queued.id != id);
        self.free(|slot| slot.id == id && slot.state == SlotState::Granted)
    }

    /// Notes that a claimed command is handed to the connection; false if the session has ended.
    pub(super) fn dispatch(&mut self, id: Uuid) -> bool {
        self.advance(id, SlotState::Granted, SlotState::Dispatched)
    }

    /// Whether a dispatched command may be written now. If so, the next answer of its kind belongs to it.
    pub(super) fn begin_write(&mut self, id: Uuid) -> bool {
        if self.closed || !self.advance(id, SlotState::Dispatched, SlotState::Written) {
            return false;
        }
        // Nothing is written after GOTTA GO.
        let is_goodbye = |slot: &ReplySlot| slot.id == id && slot.kind == AnswerKind::SeeYa;
        if self.taken.iter().any(is_goodbye) {
            self.stop();
        }
        true
    }

    /// Lets no further command be written. Those that are written may still be answered.
    pub(super) fn stop(&mut self) {
        self.closed = true;
        self.queue.clear();
    }

    /// Whether a command is written that was neither answered nor abandoned.
    pub(super) fn awaits_answers(&self) -> bool {
        self.taken
            .iter()
            .any(|slot| slot.state == SlotState::Written)
    }

    fn advance(&mut self, id: Uuid, from: SlotState, to: SlotState) -> bool {
        let slot = self.taken.iter_mut().find(|slot| slot.id == id);
        let slot = slot.filter(|slot| slot.state == from);
        slot.map(|slot| slot.state = to).is_some()
    }

    /// Frees the slot of the command that an answer of `kind` belongs to; `None` if no such command is outstanding.
    pub(super) fn answer(&mut self, kind: AnswerKind) -> Option<(MatchedCommand, Option<T>)> {
        let is_outstanding = |slot: &ReplySlot| {
            slot.kind == kind && matches!(slot.state, SlotState::Written | SlotState::Abandoned)
        };
        let slot = self.taken.iter().find(|slot| is_outstanding(slot))?;
        let matched = MatchedCommand {
            id: slot.id,
            late: slot.state == SlotState::Abandoned,
        };
        Some((matched, self.free(is_outstanding)))
    }

    /// Abandons a command: nobody waits for its answer any more.
    pub(super) fn abandon(&mut self, id: Uuid) -> (Abandoned, Option<T>) {
        let Some(slot) = self.taken.iter_mut().find(|slot| slot.id == id) else {
            return (Abandoned::Settled, None);
        };
        match slot.state {
            SlotState::Granted | SlotState::Dispatched => {
                (Abandoned::Unwritten, self.free(|slot| slot.id == id))
            }
            SlotState::Written | SlotState::Abandoned => {
                slot.state = SlotState::Abandoned;
                (Abandoned::Written, None)
            }
        }
    }

    /// Frees the slot of an abandoned command whose late answer is no longer expected.
    pub(super) fn release(&mut self, id: Uuid) -> Option<T> {
        self.free(|slot| slot.id == id && slot.state == SlotState::Abandoned)
    }

    /// Ends the session: frees all slots, drops the queue and refuses further commands.
    pub(super) fn close(&mut self) {
        *self = Self {
            closed: true,
            ..Self::default()
        };
    }

    /// Frees a slot and grants it to the next command that is queued for it.
    fn free(&mut self, which: impl Fn(&ReplySlot) -> bool) -> Option<T> {
        let index = self.taken.iter().position(which)?;
        let kind = self.taken.swap_remove(index).kind;
        let next = self.queue.iter().position(|queued| queued.kind == kind)?;
        let next = self.queue.remove(next)?;
        self.take(kind, next.id);
        Some(next.notify)
    }
}

#[cfg(test)]
#[path = "reply_slots_tests.rs"]
mod tests;
