//! Which peers are alive.

use std::sync::{Mutex, PoisonError};

use uuid::Uuid;

/// The peers that were alive when the database was last asked.
#[derive(Debug, Default)]
pub struct Peers {
    /// Written by the cluster task. Held for a few instructions, never across an await.
    peers: Mutex<Vec<Uuid>>,
}

impl Peers {
    /// The other live instances.
    #[must_use]
    pub fn list(&self) -> Vec<Uuid> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.clone()
    }

    pub(super) fn set(&self, peers: Vec<Uuid>) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }
}
