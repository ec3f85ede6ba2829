//! How the rest of the gateway reaches a device connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{Action, DisconnectReason};

/// Hands events to one device connection, which polls for them.
///
/// A plain mutex: it is held for a few instructions, never across an await.
#[derive(Debug, Default)]
pub struct ConnectionHandle(Mutex<PendingEvents>);

#[derive(Debug, Default)]
struct PendingEvents {
    close: Option<DisconnectReason>,
    /// Bounded by the reply slots: one command of each answer kind, and those that were abandoned before the connection
    /// took them.
    writes: VecDeque<CommandWrite>,
    waker: Option<Waker>,
}

/// A command that is claimed in the store and is to be written to the socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CommandWrite {
    /// The command's id.
    pub id: Uuid,
    /// The sentence to write.
    pub action: Action,
    /// The command must not be written at or after this instant.
    pub deadline: Instant,
}

/// What a connection is asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectionEvent {
    /// Close the connection.
    Close(DisconnectReason),
    /// Write this command, if [`Session::begin_write`](super::Session::begin_write) still allows it by then.
    Write(CommandWrite),
}

impl ConnectionHandle {
    /// Asks the connection to close. The reason of the first call is kept.
    pub fn close(&self, reason: DisconnectReason) {
        self.update(|events| {
            events.close.get_or_insert(reason);
        });
    }

    /// Asks the connection to write a command.
    pub(super) fn write(&self, command: CommandWrite) {
        self.update(|events| events.writes.push_back(command));
    }

    fn update(&self, change: impl FnOnce(&mut PendingEvents)) {
        let waker = {
            let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            change(&mut events);
            events.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Polls for the next event. `Close` takes precedence, and every later call returns it again.
    pub fn poll(&self, context: &Context<'_>) -> Poll<ConnectionEvent> {
        let mut events = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = events.close {
            return Poll::Ready(ConnectionEvent::Close(reason));
        }
        if let Some(command) = events.writes.pop_front() {
            return Poll::Ready(ConnectionEvent::Write(command));
        }
        match &mut events.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
