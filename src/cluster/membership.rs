//! The periodic task that follows which peers are alive, ends the sessions of dead ones and the graces that are over,
//! and reconciles.

use std::{sync::atomic::Ordering, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::{
    Cluster, dead_peers::DeadPeers, failure_detector::FailureDetector, unheld_rows::UnheldRows,
};
use crate::{
    domain::{DisconnectReason, IncarnationId},
    pacing::DEVICES_PER_WRITE,
    store::{LostSessions, StoreError},
};

/// The number of membership rounds in a lease. A death or the end of a grace is noticed up to one round late.
const ROUNDS_PER_LEASE: u32 = 8;
const SHORTEST_ROUND: Duration = Duration::from_millis(200);
const LONGEST_ROUND: Duration = Duration::from_secs(2);

/// What [`Cluster::run_membership`] keeps from one round to the next.
struct MembershipState {
    detector: FailureDetector,
    dead_peers: DeadPeers,
    unheld_rows: UnheldRows,
    /// When a round last made the periodic comparison, the one with `unheld_rows`, or when the task began. Comparisons
    /// ahead of time, which `reconcile_soon` or lost batches cause, do not count.
    reconciled_at: Instant,
    /// Whether this instance was cut off from the database in the previous round.
    was_cut_off: bool,
    /// Batches that the database had lost when sessions were compared with rows last.
    lost_batches: u64,
}

impl Cluster {
    /// Follows the membership of the cluster. Never returns if the database is shared; returns at once if it is not.
    pub async fn run_membership(&self) {
        if !self.store.is_shared() {
            return;
        }
        let lease = self.options.lease;
        let mut state = MembershipState {
            detector: FailureDetector::new(lease),
            // Rows are kept because an instance that was declared dead may still read its own, to learn whether its
            // last batch was committed.
            dead_peers: DeadPeers::new(self.store.commit_wait() * 2),
            unheld_rows: UnheldRows::default(),
            reconciled_at: Instant::now(),
            was_cut_off: false,
            lost_batches: 0,
        };
        let mut rounds = interval((lease / ROUNDS_PER_LEASE).clamp(SHORTEST_ROUND, LONGEST_ROUND));
        rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            self.release_if_cut_off(&mut state.was_cut_off).await;
            if let Err(error) = self.membership_round(&mut state).await {
                tracing::debug!(%error, "membership round failed");
            }
        }
    }

    /// Closes all device connections, spread over a lease, when this instance becomes cut off from the database:
    /// another instance may be able to serve the vehicles.
    async fn release_if_cut_off(&self, was_cut_off: &mut bool) {
        let is_cut_off = self.instance.is_cut_off();
        if is_cut_off && !*was_cut_off {
            tracing::error!(
                connections = self.sessions.connections(),
                "cut off from the database: closing all device connections, other instances may reach it"
            );
            let reason = DisconnectReason::StoreUnavailable;
            self.sessions
                .release_connections(reason, self.options.lease)
                .await;
        }
        *was_cut_off = is_cut_off;
    }

    async fn membership_round(&self, state: &mut MembershipState) -> Result<(), StoreError> {
        let stalled = state.detector.stalled(Instant::now());
        let removable = state.dead_peers.take_removable();
        let update = self.store.update_membership(stalled, removable);
        let membership = self.store.settled(update).await?;
        state.detector.observe(Instant::now(), &membership.peers);
        for instance in membership.declared_dead {
            tracing::warn!(
                instance,
                "peer declared dead: it has committed nothing for presence.lease"
            );
        }
        self.peers
            .set(membership.peers.iter().map(|peer| peer.id).collect());
        state.dead_peers.observe(Instant::now(), &membership.dead);
        for dead in membership.dead {
            let ended = self.end_sessions_of(dead).await?;
            state.dead_peers.sessions_ended(Instant::now(), dead, ended);
        }
        // Vehicles cannot log in here while this instance does not commit. So graces end only after it has committed
        // for a whole grace without a gap.
        if state.detector.steady_for(Instant::now()) >= self.options.offline_grace {
            self.end_expired_graces().await?;
        }
        // The database may not know sessions any more whose logins it had acknowledged.
        let lost = self.store.lost_batches();
        let has_lost = lost != std::mem::replace(&mut state.lost_batches, lost);
        let is_soon = self.reconcile_soon.swap(false, Ordering::Relaxed) || has_lost;
        if state.reconciled_at.elapsed() >= self.options.lease {
            state.reconciled_at = Instant::now();
            self.reconcile(Some(&mut state.unheld_rows)).await?;
        } else if is_soon {
            self.reconcile(None).await?;
        }
        Ok(())
    }

    /// Ends the sessions that a dead incarnation held, and returns their number.
    async fn end_sessions_of(&self, dead: IncarnationId) -> Result<usize, StoreError> {
        let mut ended = 0;
        let mut after = None;
        loop {
            let held = self
                .store
                .sessions_held_by(dead, after.as_ref(), DEVICES_PER_WRITE as u64)
                .await?;
            let Some(last) = held.last() else { break };
            after = Some(last.device_id.clone());
            ended += held.len();
            let devices = held.into_iter().map(|session| session.device_id).collect();
            let grace = self.offline_grace.after(DisconnectReason::InstanceLost);
            let whose = LostSessions::OfIncarnation(dead, grace);
            let now = self.store.now();
            self.store
                .settled(self.store.end_lost_sessions(devices, whose, now))
                .await?;
        }
        if ended > 0 {
            tracing::warn!(incarnation = %dead, vehicles = ended, "sessions of a dead instance ended; vehicles that do not come back are offline after presence.offline_grace");
        }
        Ok(ended)
    }

    /// Sets vehicles offline whose grace has expired.
    async fn end_expired_graces(&self) -> Result<(), StoreError> {
        let mut vehicles = 0;
        let ended = self.end_graces(&mut vehicles).await;
        if vehicles > 0 {
            tracing::info!(vehicles, "offline grace expired");
        }
        ended
    }

    /// Ends the graces that have expired, and counts those that it has ended, also if it fails.
    async fn end_graces(&self, vehicles: &mut usize) -> Result<(), StoreError> {
        loop {
            let now = self.store.now();
            let expired = self
                .store
                .expired_graces(now, DEVICES_PER_WRITE as u64)
                .await?;
            let count = expired.len();
            if count > 0 {
                self.store
                    .settled(self.store.end_graces(expired, now))
                    .await?;
                *vehicles += count;
            }
            if count < DEVICES_PER_WRITE {
                return Ok(());
            }
        }
    }
}
