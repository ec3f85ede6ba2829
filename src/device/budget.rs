//! The memory that large input of all devices together may take.
//!
//! Taken as bytes arrive, never for bytes that are only announced. When there is none left, one
//! connection may go over it until its blob is complete: everybody else waits while holding a part,
//! and without that exception nobody might ever finish.

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
/// Bytes that a connection may hold without asking: a sentence, and what one small read brings.
pub(super) const FREE: usize = 8 << 10;
/// Units taken at a time, so that a growing blob does not ask at every read.
const STEP: usize = 64;

/// Memory for blobs under way, shared by all connections.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    room: Arc<Semaphore>,
    /// Whose holder may go over the room that there is.
    exception: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Shared {
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
            asked: None,
            since: None,
        }
    }
}

/// What a connection that asked for more was given.
enum Grant {
    Room(OwnedSemaphorePermit),
    Exception(OwnedSemaphorePermit),
}

type Asked = Pin<Box<dyn Future<Output = Option<Grant>> + Send>>;

/// What one connection holds of the [`Budget`].
pub(super) struct Share {
    budget: Budget,
    room: Option<OwnedSemaphorePermit>,
    exception: Option<OwnedSemaphorePermit>,
    asked: Option<Asked>,
    since: Option<Instant>,
}

impl Share {
    fn bytes(&self) -> usize {
        let units = self.room.as_ref();
        units.map_or(0, OwnedSemaphorePermit::num_permits) * UNIT
    }

    /// Since when it holds anything.
    pub(super) fn held_since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether others wait for what it holds.
    pub(super) fn is_wanted(&self) -> bool {
        self.budget.0.waiting.load(Ordering::Relaxed) > 0
    }

    /// Counts as new from now on.
    pub(super) fn renew(&mut self) {
        self.since = Some(Instant::now());
    }

    /// Ready once the share covers `bytes`; gives back everything when nothing is needed.
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
            let grant = match &mut self.asked {
                None => {
                    self.since.get_or_insert_with(Instant::now);
                    self.asked = Some(Box::pin(ask(Arc::clone(&self.budget.0))));
                    continue;
                }
                Some(asked) => std::task::ready!(asked.as_mut().poll(context)),
            };
            self.asked = None;
            match (grant, &mut self.room) {
                (Some(Grant::Room(more)), Some(room)) => room.merge(more),
                (Some(Grant::Room(more)), none) => *none = Some(more),
                (Some(Grant::Exception(exception)), _) => self.exception = Some(exception),
                // The budget is never closed.
                (None, _) => return Poll::Pending,
            }
        }
    }
}

async fn ask(shared: Arc<Shared>) -> Option<Grant> {
    let step = u32::try_from(STEP).unwrap_or(u32::MAX);
    if let Ok(room) = Arc::clone(&shared.room).try_acquire_many_owned(step) {
        return Some(Grant::Room(room));
    }
    let _waiting = Waiting::new(&shared);
    tokio::select! {
        biased;
        room = Arc::clone(&shared.room).acquire_many_owned(step) => room.ok().map(Grant::Room),
        exception = Arc::clone(&shared.exception).acquire_owned() => {
            exception.ok().map(Grant::Exception)
        }
    }
}

/// Counts one more waiting connection while it lives.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(shared: &'a Shared) -> Self {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Self(&shared.waiting)
    }
}

impl Drop for Waiting<'_> {
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
    fn a_share_gives_back_what_it_holds_when_the_blob_is_complete() {
        let budget = Budget::new(2 * STEP_BYTES);
        let mut share = budget.share();
        assert!(covers(&mut share, 2 * STEP_BYTES));
        assert_eq!(budget.0.room.available_permits(), 0);
        assert!(covers(&mut share, 0));
        assert_eq!(budget.0.room.available_permits(), 2 * STEP);
        assert_eq!(share.held_since(), None);
    }

    #[test]
    fn sentences_need_no_room() {
        let budget = Budget::new(0);
        assert!(covers(&mut budget.share(), FREE));
    }

    #[test]
    fn without_room_one_at_a_time_may_go_over_it_so_that_somebody_always_finishes() {
        let budget = Budget::new(2 * STEP_BYTES);
        let mut shares = [budget.share(), budget.share(), budget.share()];
        let [first, second, third] = &mut shares;
        assert!(covers(first, STEP_BYTES) && covers(second, STEP_BYTES));
        assert!(covers(first, 9 * STEP_BYTES));
        assert!(!covers(second, 2 * STEP_BYTES) && !covers(third, STEP_BYTES));
        assert!(first.is_wanted());
        // The first is done: its room goes to one, the exception to the other.
        assert!(covers(first, 0));
        assert!(covers(second, 2 * STEP_BYTES) && covers(third, STEP_BYTES));
        assert!(!first.is_wanted());
    }
}
