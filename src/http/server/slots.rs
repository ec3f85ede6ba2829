//! How many connections are open at once: those of `http.max_connections`, and a few more for health checks.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The connections that are reserved for health checks.
pub(crate) const RESERVED_CONNECTIONS: usize = 8;

/// The free places for connections.
#[derive(Debug)]
pub(super) struct Slots {
    open: Arc<Semaphore>,
    reserved: Arc<Semaphore>,
}

/// The place of one connection; free again when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    /// Whether only health checks are answered.
    pub(super) is_reserved: bool,
    _permit: OwnedSemaphorePermit,
}

impl Slots {
    /// So many places for all requests, and [`RESERVED_CONNECTIONS`] more.
    pub(super) fn new(open: usize) -> Self {
        Self {
            open: Arc::new(Semaphore::new(open)),
            reserved: Arc::new(Semaphore::new(RESERVED_CONNECTIONS)),
        }
    }

    /// Waits for a free place: a reserved one if there is no other.
    pub(super) async fn take(&self) -> Option<Slot> {
        let (is_reserved, permit) = tokio::select! {
            biased;
            permit = Arc::clone(&self.open).acquire_owned() => (false, permit.ok()?),
            permit = Arc::clone(&self.reserved).acquire_owned() => (true, permit.ok()?),
        };
        Some(Slot {
            is_reserved,
            _permit: permit,
        })
    }

    /// Exchanges a reserved place for another if one has become free.
    pub(super) fn exchange(&self, slot: Slot) -> Slot {
        if !slot.is_reserved {
            return slot;
        }
        match Arc::clone(&self.open).try_acquire_owned() {
            Ok(permit) => Slot {
                is_reserved: false,
                _permit: permit,
            },
            Err(_full) => slot,
        }
    }
}
