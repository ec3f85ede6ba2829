//! Which commands one session waits for. Answers carry no id, so of each kind one command at a time may
//! be with the vehicle; the others wait for their turn, in order.
//!
//! Pure: no clock, no channel. `T` is what tells a waiting command that its turn has come; whoever
//! frees a lane gets back the `T` of the next in line and has to use it.

use std::collections::VecDeque;

use uuid::Uuid;

use crate::domain::AnswerKind;

/// How far the command that holds a lane has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    /// Its turn has come; it is being claimed in the store.
    Turn,
    /// It is claimed and on its way to the socket.
    Dispatched,
    /// It is written: the next answer of its kind is its own.
    Written,
    /// It was given up after it was written. The next answer of its kind is still its own, and until
    /// then nothing else of its kind may be written.
    Held,
}

#[derive(Debug)]
struct Lane {
    kind: AnswerKind,
    id: Uuid,
    progress: Progress,
}

#[derive(Debug)]
struct Waiting<T> {
    kind: AnswerKind,
    id: Uuid,
    turn: T,
}

/// What became of a command that wants a lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entered<T> {
    /// It has the lane; nobody needs to be told.
    Turn(T),
    /// It waits.
    Waiting,
}

/// Why a command cannot even wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// As many wait as may.
    #[error("too many commands wait for this vehicle")]
    Full,
    /// The session is over, or about to be.
    #[error("the session takes no more commands")]
    Closed,
    /// The command is in line already: whoever asked for it asked twice.
    #[error("the command is in line already")]
    There,
}

/// Whose answer an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Credit {
    /// The command that it answers.
    pub id: Uuid,
    /// The command was given up before.
    pub late: bool,
}

/// What giving up a command means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GaveUp {
    /// It was never written and never will be.
    Unwritten,
    /// It was written. Its kind is held until the late answer comes or is no longer expected.
    Written,
    /// It is not here any more: it was answered, or the session ended.
    Settled,
}

/// The commands of one session. Takes no memory of its own while there are none.
#[derive(Debug)]
pub(super) struct Lanes<T> {
    /// The lanes that are taken, at most one of each kind.
    taken: Vec<Lane>,
    waiting: VecDeque<Waiting<T>>,
    closed: bool,
}

impl<T> Default for Lanes<T> {
    fn default() -> Self {
        Self {
            taken: Vec::new(),
            waiting: VecDeque::new(),
            closed: false,
        }
    }
}

impl<T> Lanes<T> {
    /// Takes the lane of `kind`, or waits for it behind at most `limit - 1` others.
    pub(super) fn enter(
        &mut self,
        kind: AnswerKind,
        id: Uuid,
        turn: T,
        limit: usize,
    ) -> Result<Entered<T>, Refused> {
        if self.closed {
            return Err(Refused::Closed);
        }
        // Whoever leaves the line takes back what has this id: the place of the first must be its alone.
        let is_in_line = self.taken.iter().any(|lane| lane.id == id)
            || self.waiting.iter().any(|waiting| waiting.id == id);
        if is_in_line {
            return Err(Refused::There);
        }
        // A free lane has nobody waiting for it: whoever frees one hands it on.
        if !self.taken.iter().any(|lane| lane.kind == kind) {
            self.take(kind, id);
            return Ok(Entered::Turn(turn));
        }
        if self.waiting.len() >= limit {
            return Err(Refused::Full);
        }
        self.waiting.push_back(Waiting { kind, id, turn });
        Ok(Entered::Waiting)
    }

    fn take(&mut self, kind: AnswerKind, id: Uuid) {
        self.taken.push(Lane {
            kind,
            id,
            progress: Progress::Turn,
        });
    }

    /// Takes back a command that was not handed to the connection, waiting or with its turn.
    pub(super) fn leave(&mut self, id: Uuid) -> Option<T> {
        self.waiting.retain(|waiting| waiting.id != id);
        self.free(|lane| lane.id == id && lane.progress == Progress::Turn)
    }

    /// The command is claimed and goes to the connection. False if the session is over.
    pub(super) fn dispatch(&mut self, id: Uuid) -> bool {
        self.advance(id, Progress::Turn, Progress::Dispatched)
    }

    /// Whether the command may be written now. From then on the next answer of its kind is its own.
    pub(super) fn begin_write(&mut self, id: Uuid) -> bool {
        // After GOTTA GO. nothing else is asked.
        if self.closed || !self.advance(id, Progress::Dispatched, Progress::Written) {
            return false;
        }
        let parting = |lane: &Lane| lane.id == id && lane.kind == AnswerKind::SeeYa;
        if self.taken.iter().any(parting) {
            self.stop();
        }
        true
    }

    /// Nothing more is written; what is written may still be answered.
    pub(super) fn stop(&mut self) {
        self.closed = true;
        self.waiting.clear();
    }

    /// Whether a command is written that was neither answered nor given up.
    pub(super) fn awaits_answers(&self) -> bool {
        self.taken
            .iter()
            .any(|lane| lane.progress == Progress::Written)
    }

    fn advance(&mut self, id: Uuid, from: Progress, to: Progress) -> bool {
        let lane = self.taken.iter_mut().find(|lane| lane.id == id);
        let lane = lane.filter(|lane| lane.progress == from);
        lane.map(|lane| lane.progress = to).is_some()
    }

    /// An answer of `kind` came: whose it is, if anybody's, and whose turn it is next.
    pub(super) fn answer(&mut self, kind: AnswerKind) -> Option<(Credit, Option<T>)> {
        let asked = |lane: &Lane| {
            lane.kind == kind && matches!(lane.progress, Progress::Written | Progress::Held)
        };
        let lane = self.taken.iter().find(|lane| asked(lane))?;
        let credit = Credit {
            id: lane.id,
            late: lane.progress == Progress::Held,
        };
        Some((credit, self.free(asked)))
    }

    /// The command is waited for no longer, and whose turn it is next.
    pub(super) fn give_up(&mut self, id: Uuid) -> (GaveUp, Option<T>) {
        let Some(lane) = self.taken.iter_mut().find(|lane| lane.id == id) else {
            return (GaveUp::Settled, None);
        };
        match lane.progress {
            Progress::Turn | Progress::Dispatched => {
                (GaveUp::Unwritten, self.free(|lane| lane.id == id))
            }
            Progress::Written | Progress::Held => {
                lane.progress = Progress::Held;
                (GaveUp::Written, None)
            }
        }
    }

    /// The late answer of a command that was given up is expected no longer.
    pub(super) fn release(&mut self, id: Uuid) -> Option<T> {
        self.free(|lane| lane.id == id && lane.progress == Progress::Held)
    }

    /// The session is over: nothing is written, answered or waited for any more.
    pub(super) fn close(&mut self) {
        *self = Self {
            closed: true,
            ..Self::default()
        };
    }

    /// Frees a lane and hands it to the next in line for it.
    fn free(&mut self, which: impl Fn(&Lane) -> bool) -> Option<T> {
        let index = self.taken.iter().position(which)?;
        let kind = self.taken.swap_remove(index).kind;
        let next = self.waiting.iter().position(|next| next.kind == kind)?;
        let next = self.waiting.remove(next)?;
        self.take(kind, next.id);
        Some(next.turn)
    }
}

#[cfg(test)]
#[path = "reply_slots_tests.rs"]
mod tests;
