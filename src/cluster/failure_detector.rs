//! Finds the peers that have stopped renewing their rows in the table `instances`. Pure: observations and the time are
//! passed in.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::{
    domain::IncarnationId,
    store::{Peer, StalledPeer},
};

/// Compares the renewal counters of peers, which every commit of a peer increments, from one commit of this instance to
/// the next.
///
/// The clocks of two instances are never compared: a peer has stalled if its counter did not change for a whole lease
/// in which this instance committed without a gap.
#[derive(Debug)]
pub(super) struct FailureDetector {
    lease: Duration,
    observed: HashMap<IncarnationId, Observation>,
    /// When the first observation since the last gap was made, and when the last one was; `None` before the first.
    steady: Option<(Instant, Instant)>,
}

#[derive(Debug, Clone, Copy)]
struct Observation {
    renewals: i64,
    /// When the counter was first observed to have this value.
    since: Instant,
}

impl FailureDetector {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            observed: HashMap::new(),
            steady: None,
        }
    }

    /// Notes the renewal counters of the peers, as a commit of this instance has read them.
    ///
    /// After a gap of more than half a lease all earlier observations are dropped: the database may have stalled for
    /// all instances, or this process may have been paused, so they prove nothing.
    pub(super) fn observe(&mut self, now: Instant, peers: &[Peer]) {
        let steady_since = match self.steady {
            Some((since, last)) if now - last <= self.lease / 2 => since,
            _ => {
                self.observed.clear();
                now
            }
        };
        self.steady = Some((steady_since, now));
        let before = std::mem::take(&mut self.observed);
        for peer in peers {
            let fresh = Observation {
                renewals: peer.renewals,
                since: now,
            };
            let known = before.get(&peer.id).copied();
            let unchanged = known.filter(|known| known.renewals == peer.renewals);
            self.observed.insert(peer.id, unchanged.unwrap_or(fresh));
        }
    }

    /// Peers whose counters did not change for a whole lease; none if the last observation is more than half a lease
    /// old.
    pub(super) fn stalled(&self, now: Instant) -> Vec<StalledPeer> {
        if self.steady_for(now).is_zero() {
            return Vec::new();
        }
        self.observed
            .iter()
            .filter(|(_, observed)| now - observed.since >= self.lease)
            .map(|(id, observed)| StalledPeer {
                id: *id,
                renewals: observed.renewals,
            })
            .collect()
    }

    /// How long this instance has observed without a gap; zero if the last observation is more than half a lease old.
    pub(super) fn steady_for(&self, now: Instant) -> Duration {
        match self.steady {
            Some((since, last)) if now - last <= self.lease / 2 => now - since,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const LEASE: Duration = Duration::from_secs(8);

    fn peer(id: u128, renewals: i64) -> Peer {
        Peer {
            id: Uuid::from_u128(id).into(),
            name: format!("gateway-{id}"),
            renewals,
        }
    }

    /// Makes one observation in each of the `seconds`: peer 1 renews, and peer 2 does not.
    fn observe(detector: &mut FailureDetector, start: Instant, seconds: std::ops::Range<u64>) {
        for second in seconds {
            let renewals = i64::try_from(second).unwrap();
            let peers = [peer(1, renewals), peer(2, 7)];
            detector.observe(start + Duration::from_secs(second), &peers);
        }
    }

    fn stalled(detector: &FailureDetector, start: Instant, second: u64) -> Vec<u128> {
        let stalled = detector.stalled(start + Duration::from_secs(second));
        stalled
            .iter()
            .map(|peer| peer.id.as_uuid().as_u128())
            .collect()
    }

    #[test]
    fn a_peer_that_does_not_renew_for_a_lease_has_stalled() {
        let (mut detector, start) = (FailureDetector::new(LEASE), Instant::now());
        observe(&mut detector, start, 0..8);
        assert_eq!(stalled(&detector, start, 7), [0; 0]);
        assert_eq!(stalled(&detector, start, 8), [2]);
    }

    #[test]
    fn one_renewal_restarts_the_lease() {
        let (mut detector, start) = (FailureDetector::new(LEASE), Instant::now());
        observe(&mut detector, start, 0..8);
        detector.observe(start + LEASE, &[peer(1, 8), peer(2, 8)]);
        observe(&mut detector, start, 9..10);
        assert_eq!(stalled(&detector, start, 9), [0; 0]);
    }

    #[test]
    fn observations_before_a_gap_are_dropped() {
        let (mut detector, start) = (FailureDetector::new(LEASE), Instant::now());
        observe(&mut detector, start, 0..7);
        assert_eq!(stalled(&detector, start, 30), [0; 0]);
        observe(&mut detector, start, 30..38);
        assert_eq!(stalled(&detector, start, 37), [0; 0]);
        assert_eq!(stalled(&detector, start, 38), [2]);
        let steady = detector.steady_for(start + Duration::from_secs(38));
        assert_eq!(steady, Duration::from_secs(8));
    }

    #[test]
    fn a_peer_without_a_row_is_forgotten() {
        let (mut detector, start) = (FailureDetector::new(LEASE), Instant::now());
        observe(&mut detector, start, 0..8);
        detector.observe(start + LEASE, &[]);
        assert_eq!(stalled(&detector, start, 9), [0; 0]);
        assert!(detector.observed.is_empty());
    }
}
