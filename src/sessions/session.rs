//! One session that this instance holds.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use tokio::{sync::oneshot, time::Instant};
use uuid::Uuid;

use super::{
    connection_handle::{Mailbox, Order},
    reply_slots::{Credit, Entered, GaveUp, Lanes, Refused},
};
use crate::domain::{Action, AnswerKind, DisconnectReason, SessionKey, Timestamp};

/// Tells a command that its turn has come; dropped, that it never will.
type TurnSender = oneshot::Sender<()>;

/// A session that this instance holds.
#[derive(Debug)]
pub struct Session {
    /// Which session of which vehicle.
    pub key: SessionKey,
    mailbox: Arc<Mailbox>,
    /// Held for a few instructions, never across an await. Written by the commands of the session and
    /// by its connection.
    lanes: Mutex<Lanes<TurnSender>>,
    /// Milliseconds since 1970, 0 before the first. Written by the session's connection.
    heartbeat: AtomicI64,
    /// The heartbeat that the last flush took. Written by the flush.
    flushed: AtomicI64,
}

impl Session {
    /// A session of the connection behind `mailbox`.
    #[must_use]
    pub fn new(key: SessionKey, mailbox: Arc<Mailbox>) -> Self {
        Self {
            key,
            mailbox,
            lanes: Mutex::default(),
            heartbeat: AtomicI64::new(0),
            flushed: AtomicI64::new(0),
        }
    }

    /// Notes a heartbeat: one store to memory.
    pub fn heartbeat(&self, at: Timestamp) {
        self.heartbeat.store(at.as_millis(), Ordering::Relaxed);
    }

    /// The last heartbeat, if there was one.
    #[must_use]
    pub fn last_heartbeat(&self) -> Option<Timestamp> {
        let millis = self.heartbeat.load(Ordering::Relaxed);
        (millis != 0).then(|| Timestamp::from_millis(millis))
    }

    /// The last heartbeat, if it was not taken before.
    pub(super) fn take_heartbeat(&self) -> Option<Timestamp> {
        let last = self.last_heartbeat()?;
        (self.flushed.swap(last.as_millis(), Ordering::Relaxed) != last.as_millis()).then_some(last)
    }

    /// Gets in line for the lane of `kind` with a new command, behind at most `limit - 1` others that
    /// wait. Ids ascend in the order of the line.
    pub fn enter(self: &Arc<Self>, kind: AnswerKind, limit: usize) -> Result<Turn, Refused> {
        self.enter_as(kind, limit, Uuid::now_v7)
    }

    /// Gets in line with a command that was made before.
    pub fn enter_again(
        self: &Arc<Self>,
        kind: AnswerKind,
        limit: usize,
        id: Uuid,
    ) -> Result<Turn, Refused> {
        self.enter_as(kind, limit, || id)
    }

    fn enter_as(
        self: &Arc<Self>,
        kind: AnswerKind,
        limit: usize,
        id: impl FnOnce() -> Uuid,
    ) -> Result<Turn, Refused> {
        let (sender, receiver) = oneshot::channel();
        let (id, entered) = self.with_lanes(|lanes| {
            let id = id();
            (id, lanes.enter(kind, id, sender, limit))
        });
        Ok(Turn {
            id,
            session: Arc::clone(self),
            waiting: match entered? {
                Entered::Turn(_) => None,
                Entered::Waiting => Some(receiver),
            },
        })
    }

    /// Whether the command may be written now. From then on the next answer of its kind is its own.
    #[must_use]
    pub fn begin_write(&self, id: Uuid) -> bool {
        self.with_lanes(|lanes| lanes.begin_write(id))
    }

    /// An answer of `kind` came: whose it is, if anybody's.
    pub fn answered(&self, kind: AnswerKind) -> Option<Credit> {
        let (credit, next) = self.with_lanes(|lanes| lanes.answer(kind))?;
        tell(next);
        Some(credit)
    }

    /// Stops waiting for the answer to a command.
    pub fn give_up(&self, id: Uuid) -> GaveUp {
        let (gave_up, next) = self.with_lanes(|lanes| lanes.give_up(id));
        tell(next);
        gave_up
    }

    /// The late answer to a command that was given up is expected no longer.
    pub fn release(&self, id: Uuid) {
        tell(self.with_lanes(|lanes| lanes.release(id)));
    }

    /// Writes no more commands: the gateway says goodbye. What is written may still be answered.
    pub fn stop_commands(&self) {
        self.with_lanes(Lanes::stop);
    }

    /// Whether the vehicle was asked something that it may still answer in time.
    #[must_use]
    pub fn awaits_answers(&self) -> bool {
        self.with_lanes(|lanes| lanes.awaits_answers())
    }

    /// Takes no more commands and forgets those it has; whoever waits for a turn is told.
    pub(super) fn close_lanes(&self) {
        self.with_lanes(Lanes::close);
    }

    /// Asks the session's connection to close, without a word.
    pub fn close(&self, reason: DisconnectReason) {
        self.close_lanes();
        self.mailbox.close(reason);
    }

    fn with_lanes<R>(&self, work: impl FnOnce(&mut Lanes<TurnSender>) -> R) -> R {
        work(&mut self.lanes.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Tells the next in line. One that has gone meanwhile gives the lane back by itself.
fn tell(next: Option<TurnSender>) {
    if let Some(turn) = next {
        let _gone = turn.send(());
    }
}

/// A command's place in the line of its session. Given back when dropped, unless it was dispatched.
#[derive(Debug)]
pub struct Turn {
    id: Uuid,
    session: Arc<Session>,
    /// `None` once the turn has come.
    waiting: Option<oneshot::Receiver<()>>,
}

impl Turn {
    /// The command's id.
    #[must_use]
    pub fn id(&self) -> Uuid {
        self.id
    }

    /// The session whose turn it is.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Whether the turn has come, as far as is known here.
    #[must_use]
    pub fn has_come(&self) -> bool {
        self.waiting.is_none()
    }

    /// Waits for the turn; an error if the session takes no more commands.
    pub async fn come(&mut self) -> Result<(), Refused> {
        if let Some(waiting) = &mut self.waiting {
            waiting.await.map_err(|_| Refused::Closed)?;
            self.waiting = None;
        }
        Ok(())
    }

    /// Hands the command, which is claimed, to the connection, to be written before that instant or
    /// never. From here on it ends by its answer, by [`Session::give_up`] or with the session.
    pub fn dispatch(self, action: Action, before: Instant) {
        if self.session.with_lanes(|lanes| lanes.dispatch(self.id)) {
            let order = Order {
                id: self.id,
                action,
                before,
            };
            self.session.mailbox.order(order);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        tell(self.session.with_lanes(|lanes| lanes.leave(self.id)));
    }
}
