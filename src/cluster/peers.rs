//! The peers that are alive, for other modules.

use std::sync::{Mutex, PoisonError};

use crate::domain::IncarnationId;

/// The peers that were alive in the last membership round; empty before the first round, and always on a `SQLite` file.
#[derive(Debug, Default)]
pub struct Peers {
    /// Written by the membership task. The lock is held for a few instructions, never across an await.
    peers: Mutex<Vec<IncarnationId>>,
}

impl Peers {
    /// The incarnations of the live peers.
    #[must_use]
    pub fn list(&self) -> Vec<IncarnationId> {
        let peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        peers.clone()
    }

    pub(super) fn set(&self, peers: Vec<IncarnationId>) {
        *self.peers.lock().unwrap_or_else(PoisonError::into_inner) = peers;
    }
}
