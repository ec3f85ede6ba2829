//! The replies to a device: queued in the order of the sentences they answer, each written when its data is committed.

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
    sessions::{CommandWrite, PendingWrite, Session, StoreError, Written},
};

/// Replies to a text device that are ready share one write up to this size, in bytes.
const WRITE_SIZE: usize = 1 << 10;
/// The capacity that an empty outgoing buffer keeps, in bytes.
const KEPT_CAPACITY: usize = 256;
/// The capacity that an empty queue keeps, in replies.
const KEPT_REPLIES: usize = 8;
/// The pause between a command and the bytes written before it: some devices crash on two objects in one read.
const COMMAND_GAP: Duration = Duration::from_millis(20);

#[derive(Debug)]
enum QueuedReply {
    /// The `connected` object.
    Connected,
    /// A sentence that is ready.
    Say(GatewaySentence),
    /// A command, which is dropped if its deadline passes before it can be written.
    Command(CommandWrite),
    /// A sentence that waits for the commit.
    WhenStored {
        pending_write: PendingWrite<Written>,
        say: Option<GatewaySentence>,
        since: Instant,
        /// The write request waits for room in the queue of the store.
        held_up: bool,
    },
    Close(DisconnectReason),
}

impl QueuedReply {
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
pub(super) enum ReplyWait {
    /// The device has not accepted the bytes being written, since this instant.
    Device(Instant),
    /// The store has not committed, since this instant.
    Store(Instant),
    /// The pause before a command, which ends at this instant.
    CommandGap(Instant),
}

/// The queue of replies of one connection, and the bytes being written.
#[derive(Debug, Default)]
pub(super) struct Replies {
    queue: VecDeque<QueuedReply>,
    out: BytesMut,
    /// Whether the stream may still hold bytes that were written to it, as TLS does.
    unflushed: bool,
    last_write: Option<Instant>,
    /// Since when the device has not accepted bytes.
    stalled: Option<Instant>,
    /// Set while a write request waits for room in the queue of the store: the size of its blob in bytes, 0 without
    /// one. There is never a second one, because no sentence is handled until then.
    held_up: Option<usize>,
    closing: bool,
    said_goodbye: bool,
}

impl Replies {
    /// Queues the `connected` object.
    pub(super) fn connected(&mut self) {
        self.queue.push_back(QueuedReply::Connected);
    }

    /// Queues a sentence.
    pub(super) fn say(&mut self, sentence: GatewaySentence) {
        self.queue.push_back(QueuedReply::Say(sentence));
    }

    /// Queues a command.
    pub(super) fn command(&mut self, command: CommandWrite) {
        self.queue.push_back(QueuedReply::Command(command));
    }

    /// Queues the sentence `say`, to be sent once the write request of `pending_write` is committed. `size` is that
    /// of its blob in bytes, or 0; it counts towards the budget while the request waits for room in the store's queue.
    pub(super) fn when_stored(
        &mut self,
        pending_write: PendingWrite<Written>,
        say: Option<GatewaySentence>,
        size: usize,
    ) {
        let held_up = !pending_write.is_queued();
        if held_up {
            self.held_up = Some(size);
        }
        let since = Instant::now();
        self.queue.push_back(QueuedReply::WhenStored {
            pending_write,
            say,
            since,
            held_up,
        });
    }

    /// Closes the connection once everything before is written. Nothing may be queued after it.
    pub(super) fn close(&mut self, reason: DisconnectReason) {
        self.queue.push_back(QueuedReply::Close(reason));
        self.closing = true;
    }

    /// Whether the connection is closed once everything is written.
    pub(super) fn is_closing(&self) -> bool {
        self.closing
    }

    /// Whether an operator's `GOTTA GO.` was written, or is being written.
    pub(super) fn said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// Whether a write request waits for room in the queue of the store. Later ones must not be submitted before it.
    pub(super) fn is_held_up(&self) -> bool {
        self.held_up.is_some()
    }

    /// The size, in bytes, of the blob that waits for room in the queue of the store; 0 if none does.
    pub(super) fn waiting_blob(&self) -> usize {
        self.held_up.unwrap_or_default()
    }

    /// The number of queued replies.
    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// Whether everything is written.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.is_written()
    }

    fn is_written(&self) -> bool {
        self.out.is_empty() && !self.unflushed
    }

    /// What delays the next byte, if something does.
    pub(super) fn wait(&self) -> Option<ReplyWait> {
        if let Some(since) = self.stalled {
            return Some(ReplyWait::Device(since));
        }
        match self.queue.front()? {
            QueuedReply::WhenStored { since, .. } => Some(ReplyWait::Store(*since)),
            // Also if the pause has ended by now: then the timer fires at once.
            reply if reply.is_command() => self
                .last_write
                .map(|at| ReplyWait::CommandGap(at + COMMAND_GAP)),
            _ => None,
        }
    }

    fn may_command(&self) -> bool {
        self.is_written() && self.last_write.is_none_or(|at| at.elapsed() >= COMMAND_GAP)
    }

    /// Writes what is ready. Returns whether anything changed, or the reason if the connection must be closed.
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
            if self.unflushed {
                match Pin::new(&mut *stream).poll_flush(context) {
                    Poll::Ready(Ok(())) => self.flushed(),
                    Poll::Ready(Err(_)) => return Err(DisconnectReason::ConnectionLost),
                    Poll::Pending => {
                        self.stalled.get_or_insert_with(Instant::now);
                        return Ok(progress);
                    }
                }
            }
            if self.out.is_empty() && !self.fill(context, dialect, server_id, session)? {
                // A commit without a reply changes the queue as well.
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
        self.unflushed = self.out.is_empty();
    }

    /// Everything that was encoded has left.
    fn flushed(&mut self) {
        self.stalled = None;
        self.unflushed = false;
        self.last_write = Some(Instant::now());
        if self.out.capacity() > KEPT_CAPACITY {
            self.out = BytesMut::new();
        }
        if self.queue.is_empty() && self.queue.capacity() > KEPT_REPLIES {
            self.queue = VecDeque::new();
        }
    }

    /// Encodes the next replies into the empty `out`: one object for a JSON device (each object is a write of its own),
    /// or for a text device those that are ready, up to about [`WRITE_SIZE`]. Returns whether there is anything to
    /// write.
    fn fill(
        &mut self,
        context: &mut Context<'_>,
        dialect: Dialect,
        server_id: &Uuid,
        session: Option<&Session>,
    ) -> Result<bool, DisconnectReason> {
        let one_by_one = dialect == Dialect::Json;
        while self.out.is_empty() || (!one_by_one && self.out.len() < WRITE_SIZE) {
            if self.queue.front().is_some_and(QueuedReply::is_command) && !self.may_command() {
                break;
            }
            let say = match self.queue.front_mut() {
                None => break,
                Some(QueuedReply::Connected) => {
                    encode_connected(server_id, &mut self.out);
                    None
                }
                Some(QueuedReply::Say(sentence)) => Some(*sentence),
                Some(QueuedReply::Command(command)) => {
                    let in_time = Instant::now() < command.deadline;
                    let written = in_time && session.is_some_and(|s| s.begin_write(command.id));
                    self.said_goodbye |= written && command.action == Action::Goodbye;
                    written.then_some(GatewaySentence::Command(command.action))
                }
                Some(QueuedReply::WhenStored {
                    pending_write,
                    say,
                    held_up,
                    ..
                }) => {
                    let polled = Pin::new(&mut *pending_write).poll(context);
                    if *held_up && pending_write.is_queued() {
                        *held_up = false;
                        self.held_up = None;
                    }
                    let Poll::Ready(outcome) = polled else {
                        break;
                    };
                    match reply_to_write(&outcome, *say) {
                        Ok(say) => say,
                        // What is ready is written first: a device repeats sentences that were not answered.
                        Err(reason) => {
                            self.queue.clear();
                            self.close(reason);
                            continue;
                        }
                    }
                }
                Some(QueuedReply::Close(_)) if !self.out.is_empty() => break,
                Some(QueuedReply::Close(reason)) => return Err(*reason),
            };
            self.queue.pop_front();
            if let Some(sentence) = say {
                encode(sentence, dialect, server_id, &mut self.out);
            }
        }
        Ok(!self.out.is_empty())
    }
}

/// The reply to a finished write request: `say` if it is stored, *bad* if the database refused it. The error is the
/// reason to close the connection.
fn reply_to_write(
    outcome: &Result<Written, StoreError>,
    say: Option<GatewaySentence>,
) -> Result<Option<GatewaySentence>, DisconnectReason> {
    match outcome {
        Ok(Written::Stored) => Ok(say),
        Ok(Written::Stale) => Err(DisconnectReason::Superseded),
        Err(StoreError::Unavailable | StoreError::Fenced | StoreError::Closed) => {
            Err(DisconnectReason::StoreUnavailable)
        }
        // The database refused this request alone, and the store logged the reason.
        Err(_) => Ok(Some(GatewaySentence::Bad)),
    }
}
