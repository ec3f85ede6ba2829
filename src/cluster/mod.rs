//! The cluster: the instances on one database. Finds out which of them are alive, and ends the sessions that dead ones
//! held, so that vehicles that do not come back go offline.
//!
//! On a `SQLite` file, which one instance has to itself, none of this happens. The database decides; a message between
//! instances only makes the instances notice sooner. An instance goes on as a new incarnation after it was declared
//! dead; its peers are the other instances that are alive.
//!
//! `membership` is the periodic task. Its rules are pure: `failure_detector` finds the peers that stopped committing,
//! `dead_peers` says when the rows of dead incarnations can be deleted, and `unheld_rows` finds stored sessions that
//! this instance does not have. `reconcile` compares the sessions of this instance with the vehicles' rows in the
//! database. `peers` is the list of the peers, which other modules read.

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

/// The settings `presence.*`: when an instance counts as dead, and when a vehicle counts as offline.
#[derive(Debug, Clone, Copy)]
pub struct PresenceOptions {
    /// How long an instance may commit nothing before a peer may declare it dead.
    pub lease: Duration,
    /// How long a vehicle stays online without a session after its instance ended the session: the time that it has to
    /// reconnect.
    pub offline_grace: Duration,
}

/// How long [`Cluster::join_fanout`] waits for Redis.
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
    /// Whether the next membership round has to reconcile although it is not due. Set by `Cluster::reconcile_soon`,
    /// cleared by the round.
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
    /// Where the membership task stores which peers are alive.
    pub peers: Arc<Peers>,
    /// How long the vehicles whose sessions this instance ends stay online.
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

    /// Listens for messages to this incarnation from now on. Waits until peers can reach this instance, for a few
    /// seconds at most; without Redis it does not wait.
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

    /// Makes the next membership round compare the sessions of this instance with the rows that name it, because a
    /// notice that a session has ended may have been lost.
    pub fn reconcile_soon(&self) {
        self.reconcile_soon.store(true, Ordering::Relaxed);
    }
}
