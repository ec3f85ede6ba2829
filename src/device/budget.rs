//! The budget of memory for large input of all devices together.
//!
//! A connection takes its share as bytes arrive, never for bytes that are only announced. When nothing is left, one
//! connection at a time may exceed the budget until its blob is complete: the others wait while they hold a part, and
//! without this exception none might ever finish.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Instant,
};

/// The unit of account, in bytes.
const UNIT: usize = 1 << 10;
/// Bytes that a connection may hold outside the budget: a sentence and one small read.
pub(super) const FREE: usize = 8 << 10;
/// Units taken at a time, so that a growing blob does not take units at every read.
const STEP: usize = 64;

/// The memory for incomplete blobs, shared by all connections.
#[derive(Debug, Clone)]
pub(crate) struct Budget(Arc<BudgetState>);

#[derive(Debug)]
struct BudgetState {
    room: Arc<Semaphore>,
    /// One permit: its holder may exceed the budget.
    exception: Arc<Semaphore>,
    /// Connections that wait for room.
    waiting: AtomicUsize,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub(crate) fn new(bytes: usize) -> Self {
        Self(Arc::new(BudgetState {
            room: Arc::new(Semaphore::new(bytes / UNIT)),
            exception: Arc::new(Semaphore::new(1)),
            waiting: AtomicUsize::new(0),
        }))
    }

    pub(super) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            room: None,
            exception: None,
            pending: None,
            since: None,
        }
    }
}

/// The permit that a waiting connection got.
enum Grant {
    Room(OwnedSemaphorePermit),
    Exception(OwnedSemaphorePermit),
}

type PendingGrant = Pin<Box<dyn Future<Output = Option<Grant>> + Send>>;

/// The part of the [`Budget`] that one connection holds.
pub(super) struct Share {
    budget: Budget,
    room: Option<OwnedSemaphorePermit>,
    exception: Option<OwnedSemaphorePermit>,
    pending: Option<PendingGrant>,
    since: Option<Instant>,
}

impl Share {
    fn bytes(&self) -> usize {
        let units = self.room.as_ref();
        units.map_or(0, OwnedSemaphorePermit::num_permits) * UNIT
    }

    /// When the share became more than nothing, or was last renewed; `None` while it is nothing.
    pub(super) fn held_since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether any connection waits for room, this one included.
    pub(super) fn is_wanted(&self) -> bool {
        self.budget.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Restarts the time of [`Self::held_since`].
    pub(super) fn renew(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Ready once the share covers `bytes`, or may exceed the budget. Returns the whole share to the budget if `bytes`
    /// are at most [`FREE`].
    pub(super) fn poll_cover(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<()> {
        if bytes <= FREE {
            if self.since.is_some() {
                *self = self.budget.share();
            }
            return Poll::Ready(());
        }
        loop {
            if self.exception.is_some() || self.bytes() >= bytes {
                return Poll::Ready(());
            }
            let grant = match &mut self.pending {
                None => {
                    self.since.get_or_insert_with(Instant::now);
                    self.pending = Some(Box::pin(acquire(Arc::clone(&self.budget.0))));
                    continue;
                }
                Some(grant) => std::task::ready!(grant.as_mut().poll(context)),
            };
            self.pending = None;
            match (grant, &mut self.room) {
                (Some(Grant::Room(more)), Some(room)) => room.merge(more),
                (Some(Grant::Room(more)), none) => *none = Some(more),
                (Some(Grant::Exception(exception)), _) => self.exception = Some(exception),
                // Never happens: the semaphores are not closed.
                (None, _) => return Poll::Pending,
            }
        }
    }
}

/// Takes [`STEP`] units, or the exception if it is free before them. `None` only if the semaphores were closed.
async fn acquire(shared: Arc<BudgetState>) -> Option<Grant> {
    let step = u32::try_from(STEP).unwrap_or(u32::MAX);
    if let Ok(room) = Arc::clone(&shared.room).try_acquire_many_owned(step) {
        return Some(Grant::Room(room));
    }
    let _waiting = WaitingGuard::new(&shared);
    tokio::select! {
        biased;
        room = Arc::clone(&shared.room).acquire_many_owned(step) => room.ok().map(Grant::Room),
        exception = Arc::clone(&shared.exception).acquire_owned() => {
            exception.ok().map(Grant::Exception)
        }
    }
}

/// Counts a connection as waiting until it is dropped.
struct WaitingGuard<'a>(&'a AtomicUsize);

impl<'a> WaitingGuard<'a> {
    fn new(shared: &'a BudgetState) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&shared.waiting)
    }
}

impl Drop for WaitingGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    const STEP_BYTES: usize = STEP * UNIT;

    fn covers(share: &mut Share, bytes: usize) -> bool {
        share
            .poll_cover(&mut Context::from_waker(Waker::noop()), bytes)
            .is_ready()
    }

    #[test]
    fn a_share_is_returned_when_the_blob_is_complete() {
        let budget = Budget::new(2 * STEP_BYTES);
        let mut share = budget.share();
        assert!(covers(&mut share, 2 * STEP_BYTES));
        assert_eq!(budget.0.room.available_permits(), 0);
        assert!(covers(&mut share, 0));
        assert_eq!(budget.0.room.available_permits(), 2 * STEP);
        assert_eq!(share.held_since(), None);
    }

    #[test]
    fn sentences_need_no_share() {
        let budget = Budget::new(0);
        assert!(covers(&mut budget.share(), FREE));
    }

    #[test]
    fn without_room_one_connection_at_a_time_may_exceed_the_budget() {
        let budget = Budget::new(2 * STEP_BYTES);
        let mut shares = [budget.share(), budget.share(), budget.share()];
        let [first, second, third] = &mut shares;
        assert!(covers(first, STEP_BYTES) && covers(second, STEP_BYTES));
        assert!(covers(first, 9 * STEP_BYTES));
        assert!(!covers(second, 2 * STEP_BYTES) && !covers(third, STEP_BYTES));
        assert!(first.is_wanted());
        // The first is complete: its room goes to one, the exception to the other.
        assert!(covers(first, 0));
        assert!(covers(second, 2 * STEP_BYTES) && covers(third, STEP_BYTES));
        assert!(!first.is_wanted());
    }
}
