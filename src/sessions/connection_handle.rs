//! What the rest of the gateway tells a connection.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::time::Instant;
use uuid::Uuid;

use crate::domain::{Action, DisconnectReason};

/// Where a connection is told what to do.
///
/// A plain mutex: it is held for a few instructions, never across an await.
#[derive(Debug, Default)]
pub struct Mailbox(Mutex<Letters>);

#[derive(Debug, Default)]
struct Letters {
    close: Option<DisconnectReason>,
    /// Bounded by the lanes: of each kind of answer there is one, and perhaps some that were given up before
    /// their place was reached.
    orders: VecDeque<Order>,
    waker: Option<Waker>,
}

/// A command that is claimed and is to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which command.
    pub id: Uuid,
    /// What to say.
    pub action: Action,
    /// From when on it must not be written.
    pub before: Instant,
}

/// Something that a connection is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Letter {
    /// Close.
    Close(DisconnectReason),
    /// Write this command, if [`Session::begin_write`](super::Session::begin_write) still allows it then.
    Order(Order),
}

impl Mailbox {
    /// Asks the connection to close. The first reason stands.
    pub fn close(&self, reason: DisconnectReason) {
        self.post(|letters| {
            letters.close.get_or_insert(reason);
        });
    }

    /// Asks the connection to write a command.
    pub(super) fn order(&self, order: Order) {
        self.post(|letters| letters.orders.push_back(order));
    }

    fn post(&self, write: impl FnOnce(&mut Letters)) {
        let waker = {
            let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            write(&mut letters);
            letters.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The next letter. Closing comes first, and for ever.
    pub fn poll(&self, context: &Context<'_>) -> Poll<Letter> {
        let mut letters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = letters.close {
            return Poll::Ready(Letter::Close(reason));
        }
        if let Some(order) = letters.orders.pop_front() {
            return Poll::Ready(Letter::Order(order));
        }
        match &mut letters.waker {
            Some(waker) => waker.clone_from(context.waker()),
            none => *none = Some(context.waker().clone()),
        }
        Poll::Pending
    }
}
