//! The future on which the caller of a write request waits.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use super::{StoreError, write_request::ReplyReceiver};

/// Waits for room in the queue, and then queues the request.
pub(super) type WaitForRoom = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// A submitted write request: a future that resolves to the request's output after the commit, or to an error.
///
/// If it is dropped while the queue is full, the request is not made; once the request is queued, it is written even if
/// nobody waits.
#[must_use = "an unread outcome may be a failure"]
pub struct PendingWrite<T> {
    pub(super) waiting: Option<WaitForRoom>,
    pub(super) reply: ReplyReceiver<T>,
}

impl<T> fmt::Debug for PendingWrite<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PendingWrite(queued: {})", self.is_queued())
    }
}

impl<T> PendingWrite<T> {
    /// Whether the request has its place in the queue. Until then no request that must come after it
    /// may be submitted.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        self.waiting.is_none()
    }
}

impl<T> Future for PendingWrite<T> {
    type Output = Result<T, StoreError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let write = self.get_mut();
        if let Some(waiting) = &mut write.waiting {
            ready!(waiting.as_mut().poll(context))?;
            write.waiting = None;
        }
        Pin::new(&mut write.reply)
            .poll(context)
            .map(|sent| sent.unwrap_or(Err(StoreError::Closed)))
    }
}
