//! This running instance: its identity, and whether it can work and wants new connections.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use crate::{
    domain::{IncarnationId, Timestamp},
    fanout::Fanout,
    store::Store,
};

pub use crate::fanout::FanoutState;

/// An instance that commits nothing for so many leases, and for [`CUT_OFF`] at least, is cut off from the database.
const CUT_OFF_LEASES: u32 = 3;
/// The shortest time without a commit after which an instance counts as cut off.
const CUT_OFF: Duration = Duration::from_mins(1);

/// This process as one of the instances on its database.
#[derive(Debug)]
pub struct Instance {
    name: String,
    started_at: Timestamp,
    cut_off_after: Duration,
    store: Arc<Store>,
    fanout: Arc<Fanout>,
    draining: CancellationToken,
}

impl Instance {
    /// An instance named `name` (`instance.id`) that starts now. `lease` is how long it may commit nothing before
    /// a peer may declare it dead.
    #[must_use]
    pub fn new(name: String, lease: Duration, store: Arc<Store>, fanout: Arc<Fanout>) -> Self {
        Self {
            name,
            started_at: Timestamp::now(),
            cut_off_after: (lease * CUT_OFF_LEASES).max(CUT_OFF),
            store,
            fanout,
            draining: CancellationToken::new(),
        }
    }

    /// The name that every incarnation keeps: the setting `instance.id`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When this process started.
    #[must_use]
    pub fn started_at(&self) -> Timestamp {
        self.started_at
    }

    /// The current incarnation, which devices see as `serverId`: new at every start, and after peers have declared
    /// this instance dead.
    #[must_use]
    pub fn incarnation(&self) -> IncarnationId {
        *self.store.incarnation().borrow()
    }

    /// Marks this instance as draining: vehicles are expected to reconnect to another instance.
    pub fn drain(&self) {
        self.draining.cancel();
    }

    /// Whether this instance is draining.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// Cancelled once this instance is draining.
    #[must_use]
    pub fn draining(&self) -> &CancellationToken {
        &self.draining
    }

    /// Whether this instance has committed nothing for so long that peers may reach the database while it cannot.
    #[must_use]
    pub fn is_cut_off(&self) -> bool {
        self.store.is_shared() && self.store.since_commit() > self.cut_off_after
    }

    /// How many batches of this instance the database has lost after it had acknowledged them.
    #[must_use]
    pub fn lost_batches(&self) -> u64 {
        self.store.lost_batches()
    }

    /// The free bytes of the disk with the database file, as last read; `None` on a server, and if it cannot be read.
    #[must_use]
    pub fn free_disk(&self) -> Option<u64> {
        self.store.free_disk()
    }

    /// Checks that the store commits and answers reads. The error says why not, for people.
    pub async fn check_store(&self) -> Result<(), String> {
        self.store.check().await
    }

    /// Whether peers can be reached.
    #[must_use]
    pub fn fanout_state(&self) -> FanoutState {
        self.fanout.state()
    }

    /// Why peers cannot be reached, for people; `None` while they can, and without Redis.
    #[must_use]
    pub fn fanout_outage(&self) -> Option<String> {
        self.fanout.outage()
    }
}
