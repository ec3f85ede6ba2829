//! The memory that large input of all devices together may take.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The unit of account, in bytes.
const UNIT: usize = 1 << 10;
/// Bytes that a connection may hold without asking; sentences never need more.
const FREE: usize = 8 << 10;
/// Units taken at a time, so that a growing blob does not ask at every read.
const STEP: usize = 64;

/// Memory for blobs under way, shared by all connections. Taken as bytes arrive, never for bytes
/// that are only announced.
#[derive(Debug, Clone)]
pub struct Budget(Arc<Semaphore>);

impl Budget {
    /// A budget of this many bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    pub(super) fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            held: None,
            asked: None,
        }
    }
}

/// What one connection holds of the [`Budget`].
pub(super) struct Share {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    asked: Option<Pin<Box<dyn Future<Output = Option<OwnedSemaphorePermit>> + Send>>>,
}

impl std::fmt::Debug for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Share({} units)", self.units())
    }
}

impl Share {
    fn units(&self) -> usize {
        self.held
            .as_ref()
            .map_or(0, OwnedSemaphorePermit::num_permits)
    }

    /// Ready once the share covers `bytes`; gives back what is no longer needed.
    pub(super) fn poll_cover(&mut self, context: &mut Context<'_>, bytes: usize) -> Poll<()> {
        if bytes <= FREE {
            self.held = None;
            self.asked = None;
            return Poll::Ready(());
        }
        loop {
            if let Some(asked) = &mut self.asked {
                match asked.as_mut().poll(context) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(more) => self.add(more),
                }
                self.asked = None;
            }
            if self.units() * UNIT >= bytes {
                return Poll::Ready(());
            }
            let step = u32::try_from(STEP).unwrap_or(u32::MAX);
            match Arc::clone(&self.budget.0).try_acquire_many_owned(step) {
                Ok(more) => self.add(Some(more)),
                Err(_short) => {
                    let semaphore = Arc::clone(&self.budget.0);
                    self.asked = Some(Box::pin(async move {
                        semaphore.acquire_many_owned(step).await.ok()
                    }));
                }
            }
        }
    }

    fn add(&mut self, more: Option<OwnedSemaphorePermit>) {
        match (&mut self.held, more) {
            (Some(held), Some(more)) => held.merge(more),
            (none, more) => *none = more,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn a_share_waits_for_room_and_gives_it_back() {
        let context = &mut Context::from_waker(Waker::noop());
        let budget = Budget::new(128 << 10);
        let (mut first, mut second) = (budget.share(), budget.share());
        assert!(second.poll_cover(context, FREE).is_ready());
        assert!(first.poll_cover(context, 100 << 10).is_ready());
        assert!(second.poll_cover(context, 10 << 10).is_pending());
        assert!(first.poll_cover(context, 0).is_ready());
        assert!(second.poll_cover(context, 10 << 10).is_ready());
    }
}
