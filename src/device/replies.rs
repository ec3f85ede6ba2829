//! What is to be written to a device: replies in the order of the sentences they answer, each when
//! it may be said.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, BytesMut};
use tokio::{io::AsyncWrite, time::Instant};
use uuid::Uuid;

use crate::{
    domain::{Action, DisconnectReason, GatewaySentence},
    protocol::{Dialect, encode, encode_connected},
    sessions::{Order, PendingWrite, Session, StoreError, Written},
};

/// Replies of a text device that are ready go out in one write up to this size.
const WRITE_SIZE: usize = 1 << 10;
/// Capacity an empty outgoing buffer may keep.
const KEPT_CAPACITY: usize = 256;
/// Places an empty queue may keep.
const KEPT_PLACES: usize = 8;
/// Some devices die on two objects in one read: a command keeps this distance to what was written
/// before it.
const COMMAND_GAP: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum Reply {
    Connected,
    Say(GatewaySentence),
    /// Said unless its time is over by then.
    Command(Order),
    /// Said once the write is committed.
    WhenStored {
        ticket: PendingWrite<Written>,
        say: Option<GatewaySentence>,
        since: Instant,
        /// It did not have its place at the store when it was added, and is not known to have it.
        held_up: bool,
    },
    Close(DisconnectReason),
}

impl Reply {
    fn is_command(&self) -> bool {
        match self {
            Self::Command(_) => true,
            Self::Say(sentence) => sentence.is_command(),
            Self::Connected | Self::WhenStored { .. } | Self::Close(_) => false,
        }
    }
}

/// What the front of the queue waits for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wait {
    /// The device does not take what is being written, since this instant.
    Device(Instant),
    /// The store has not committed, since this instant.
    Store(Instant),
    /// A command may be written at this instant.
    CommandGap(Instant),
}

/// The queue of replies of one connection, and the bytes being written.
#[derive(Debug, Default)]
pub(super) struct Replies {
    queue: VecDeque<Reply>,
    out: BytesMut,
    last_write: Option<Instant>,
    stalled: Option<Instant>,
    /// Bytes of the write that waits for room at the store, if one does: there is never a second.
    held_up: Option<usize>,
    closing: bool,
    said_goodbye: bool,
}

impl Replies {
    /// The `connected` object.
    pub(super) fn connected(&mut self) {
        self.queue.push_back(Reply::Connected);
    }

    pub(super) fn say(&mut self, sentence: GatewaySentence) {
        self.queue.push_back(Reply::Say(sentence));
    }

    /// Says a command, at its distance to what is said before, unless its time is over by then.
    pub(super) fn command(&mut self, order: Order) {
        self.queue.push_back(Reply::Command(order));
    }

    /// Says `say` once the write of `size` bytes behind `ticket` is committed.
    pub(super) fn when_stored(
        &mut self,
        ticket: PendingWrite<Written>,
        say: Option<GatewaySentence>,
        size: usize,
    ) {
        let held_up = !ticket.is_queued();
        if held_up {
            self.held_up = Some(size);
        }
        let since = Instant::now();
        self.queue.push_back(Reply::WhenStored {
            ticket,
            say,
            since,
            held_up,
        });
    }

    /// Ends the connection once everything before is written. Nothing may be added after it.
    pub(super) fn close(&mut self, reason: DisconnectReason) {
        self.queue.push_back(Reply::Close(reason));
        self.closing = true;
    }

    /// Whether the connection ends once everything is written.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether an operator's `GOTTA GO.` is on its way to the device.
    pub(super) fn said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// Whether a write waits for room at the store: what comes after must not be submitted.
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up.is_some()
    }

    /// Bytes of a blob that waits for room at the store.
    pub(super) fn waiting_blob(&self) -> usize {
        self.held_up.unwrap_or_default()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.out.is_empty()
    }

    /// What holds up the next byte, if something does.
    pub(super) fn wait(&self) -> Option<Wait> {
        if let Some(since) = self.stalled {
            return Some(Wait::Device(since));
        }
        match self.queue.front()? {
            Reply::WhenStored { since, .. } => Some(Wait::Store(*since)),
            // Also if it has passed by now: then the clock goes off at once.
            reply if reply.is_command() => {
                self.last_write.map(|at| Wait::CommandGap(at + COMMAND_GAP))
            }
            _ => None,
        }
    }

    fn may_command(&self) -> bool {
        self.out.is_empty() && self.last_write.is_none_or(|at| at.elapsed() >= COMMAND_GAP)
    }

    /// Writes what is ready; true if anything moved, an error once the connection is to end.
    pub(super) fn write<S: AsyncWrite + Unpin>(
        &mut self,
        context: &mut Context<'_>,
        stream: &mut S,
        dialect: Dialect,
        server_id: &Uuid,
        session: Option<&Session>,
    ) -> Result<bool, DisconnectReason> {
        let before = (self.queue.len(), self.held_up);
        let mut progress = false;
        loop {
            if self.out.is_empty() && !self.fill(context, dialect, server_id, session)? {
                // What is stored without a word makes room as well.
                return Ok(progress || before != (self.queue.len(), self.held_up));
            }
            match Pin::new(&mut *stream).poll_write(context, &self.out) {
                Poll::Ready(Ok(written)) if written > 0 => {
                    progress = true;
                    self.written(written);
                }
                Poll::Ready(_) => return Err(DisconnectReason::ConnectionLost),
                Poll::Pending => {
                    self.stalled.get_or_insert_with(Instant::now);
                    return Ok(progress);
                }
            }
        }
    }

    fn written(&mut self, bytes: usize) {
        self.stalled = None;
        self.out.advance(bytes);
        if self.out.is_empty() {
            self.last_write = Some(Instant::now());
            if self.out.capacity() > KEPT_CAPACITY {
                self.out = BytesMut::new();
            }
            if self.queue.is_empty() && self.queue.capacity() > KEPT_PLACES {
                self.queue = VecDeque::new();
            }
        }
    }

    /// Puts the next replies into the empty `out`: one object of a JSON device (each is to be a
    /// write of its own), or what is ready of a text device. False if nothing is ready.
    fn fill(
        &mut self,
        context: &mut Context<'_>,
        dialect: Dialect,
        server_id: &Uuid,
        session: Option<&Session>,
    ) -> Result<bool, DisconnectReason> {
        let one_by_one = dialect == Dialect::Json;
        while self.out.is_empty() || (!one_by_one && self.out.len() < WRITE_SIZE) {
            if self.queue.front().is_some_and(Reply::is_command) && !self.may_command() {
                break;
            }
            let say = match self.queue.front_mut() {
                None => break,
                Some(Reply::Connected) => {
                    encode_connected(server_id, &mut self.out);
                    None
                }
                Some(Reply::Say(sentence)) => Some(*sentence),
                Some(Reply::Command(order)) => {
                    let in_time = Instant::now() < order.before;
                    let written = in_time && session.is_some_and(|s| s.begin_write(order.id));
                    self.said_goodbye |= written && order.action == Action::Goodbye;
                    written.then_some(GatewaySentence::Command(order.action))
                }
                Some(Reply::WhenStored {
                    ticket,
                    say,
                    held_up,
                    ..
                }) => {
                    let polled = Pin::new(&mut *ticket).poll(context);
                    if *held_up && ticket.is_queued() {
                        *held_up = false;
                        self.held_up = None;
                    }
                    let Poll::Ready(outcome) = polled else {
                        break;
                    };
                    match if_stored(&outcome, *say) {
                        Ok(say) => say,
                        // What is ready goes out first: a device that is not told repeats itself.
                        Err(reason) => {
                            self.queue.clear();
                            self.close(reason);
                            continue;
                        }
                    }
                }
                Some(Reply::Close(_)) if !self.out.is_empty() => break,
                Some(Reply::Close(reason)) => return Err(*reason),
            };
            self.queue.pop_front();
            if let Some(sentence) = say {
                encode(sentence, dialect, server_id, &mut self.out);
            }
        }
        Ok(!self.out.is_empty())
    }
}

/// What is said of a write: the sentence only if it is stored.
fn if_stored(
    outcome: &Result<Written, StoreError>,
    say: Option<GatewaySentence>,
) -> Result<Option<GatewaySentence>, DisconnectReason> {
    match outcome {
        Ok(Written::Stored) => Ok(say),
        Ok(Written::Stale) => Err(DisconnectReason::Superseded),
        Err(StoreError::Unavailable | StoreError::Fenced | StoreError::Closed) => {
            Err(DisconnectReason::StoreUnavailable)
        }
        // Logged by the store, which refuses just this.
        Err(_) => Ok(Some(GatewaySentence::Bad)),
    }
}
