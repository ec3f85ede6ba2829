//! The instances on one database: which of them are alive, and what happens to the vehicles of those that are not.
//!
//! On a database that only one instance uses nothing of this runs. The database is the truth; messages between instances
//! only make it faster. `membership` is the periodic task; `failure_detector`, `dead_peers` and `unheld_rows` are its rules,
//! pure; `reconcile` compares sessions with rows; `peers` is the result that other modules read.

mod dead_peers;
mod failure_detector;
mod membership;
mod peers;
mod reconcile;
mod unheld_rows;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, sleep};

use crate::{
    domain::DisconnectReason,
    fanout::{Fanout, FanoutState},
    instance::Instance,
    sessions::{OfflineGrace, Registry, Sessions},
    store::Store,
};

pub use peers::Peers;

/// Settings of presence.
#[derive(Debug, Clone, Copy)]
pub struct PresenceOptions {
    /// How long an instance may commit nothing before a peer may declare it dead.
    pub lease: Duration,
    /// How long a vehicle may take to come back after its instance ended its session.
    pub offline_grace: Duration,
}

/// How long a start waits for Redis.
const REACH_TIMEOUT: Duration = Duration::from_secs(2);
const REACH_POLL: Duration = Duration::from_millis(20);

/// This instance as a member of the cluster.
#[derive(Debug)]
pub struct Cluster {
    store: Arc<Store>,
    fanout: Arc<Fanout>,
    registry: Arc<Registry>,
    sessions: Arc<Sessions>,
    instance: Arc<Instance>,
    peers: Arc<Peers>,
    options: PresenceOptions,
    offline_grace: OfflineGrace,
    /// Whether the next membership round is to reconcile. Set by the reader of peer messages, cleared by the round.
    reconcile_soon: AtomicBool,
}

/// The parts that [`Cluster`] works on.
#[derive(Debug)]
pub struct ClusterParts {
    /// The database that the instances share.
    pub store: Arc<Store>,
    /// Messages between instances.
    pub fanout: Arc<Fanout>,
    /// The connections and sessions of this instance.
    pub registry: Arc<Registry>,
    /// Ends sessions and closes connections.
    pub sessions: Arc<Sessions>,
    /// The identity and readiness of this instance.
    pub instance: Arc<Instance>,
    /// Receives the live peers.
    pub peers: Arc<Peers>,
    /// The grace of vehicles whose sessions are ended here.
    pub offline_grace: OfflineGrace,
}

impl Cluster {
    /// Creates the cluster member from its parts.
    #[must_use]
    pub fn new(parts: ClusterParts, options: PresenceOptions) -> Self {
        let ClusterParts {
            store,
            fanout,
            registry,
            sessions,
            instance,
            peers,
            offline_grace,
        } = parts;
        Self {
            store,
            fanout,
            registry,
            sessions,
            instance,
            peers,
            options,
            offline_grace,
            reconcile_soon: AtomicBool::new(false),
        }
    }

    /// Listens for messages to this incarnation, and waits at most 2 s until peers can reach it: Redis may be down.
    pub async fn join_fanout(&self) {
        self.fanout.listen_as(self.instance.incarnation()).await;
        let started = Instant::now();
        while self.fanout.state() == FanoutState::Down && started.elapsed() < REACH_TIMEOUT {
            sleep(REACH_POLL).await;
        }
    }

    /// Closes all device connections whenever peers have declared this instance dead and it continues as a new
    /// incarnation, because its vehicles may be connected to other instances. Never returns while the store is open.
    pub async fn follow_incarnation(&self) {
        let mut incarnation = self.store.incarnation().clone();
        while incarnation.changed().await.is_ok() {
            self.sessions
                .close_connections(DisconnectReason::InstanceLost);
            self.fanout.listen_as(self.instance.incarnation()).await;
        }
    }

    /// Reconciles sessions with rows in the next membership round, because a notice of an ended session may be lost.
    pub fn reconcile_soon(&self) {
        self.reconcile_soon.store(true, Ordering::Relaxed);
    }
}
