//! Who has been silent for how long. Pure: it is told what was seen and when.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;
use uuid::Uuid;

use crate::store::{Peer, StalledPeer};

/// What was seen of the other instances, as of this instance's own commits.
#[derive(Debug)]
pub(super) struct Roll {
    lease: Duration,
    seen: HashMap<Uuid, Seen>,
    /// Since when this instance has looked without a gap, and when it looked last.
    looking: Option<(Instant, Instant)>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    renewals: i64,
    /// When it was first seen to have committed so often.
    since: Instant,
}

impl Roll {
    pub(super) fn new(lease: Duration) -> Self {
        Self {
            lease,
            seen: HashMap::new(),
            looking: None,
        }
    }

    /// Notes what a commit of this instance has seen.
    ///
    /// If its last one was long ago, the database may have stood still for everybody, or this process may have:
    /// then nothing that was seen before proves anything.
    pub(super) fn observe(&mut self, now: Instant, others: &[Peer]) {
        let steady_since = match self.looking {
            Some((since, last)) if now - last <= self.lease / 2 => since,
            _ => {
                self.seen.clear();
                now
            }
        };
        self.looking = Some((steady_since, now));
        let before = std::mem::take(&mut self.seen);
        for other in others {
            let fresh = Seen {
                renewals: other.renewals,
                since: now,
            };
            let known = before.get(&other.id).copied();
            let seen = known.filter(|seen| seen.renewals == other.renewals);
            self.seen.insert(other.id, seen.unwrap_or(fresh));
        }
    }

    /// Who has committed nothing for a whole lease in which this instance has.
    pub(super) fn stalled(&self, now: Instant) -> Vec<StalledPeer> {
        if self.steady_for(now).is_zero() {
            return Vec::new();
        }
        self.seen
            .iter()
            .filter(|(_, seen)| now - seen.since >= self.lease)
            .map(|(id, seen)| StalledPeer {
                id: *id,
                renewals: seen.renewals,
            })
            .collect()
    }

    /// For how long this instance has looked without a gap.
    pub(super) fn steady_for(&self, now: Instant) -> Duration {
        match self.looking {
            Some((since, last)) if now - last <= self.lease / 2 => now - since,
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(8);

    fn other(id: u128, renewals: i64) -> Peer {
        Peer {
            id: Uuid::from_u128(id),
            name: format!("gateway-{id}"),
            renewals,
        }
    }

    /// Looks every second from second to second, at one that commits and at one that does not.
    fn look(roll: &mut Roll, start: Instant, seconds: std::ops::Range<u64>) {
        for second in seconds {
            let renewals = i64::try_from(second).unwrap();
            let others = [other(1, renewals), other(2, 7)];
            roll.observe(start + Duration::from_secs(second), &others);
        }
    }

    fn stalled(roll: &Roll, start: Instant, second: u64) -> Vec<u128> {
        let stalled = roll.stalled(start + Duration::from_secs(second));
        stalled.iter().map(|one| one.id.as_u128()).collect()
    }

    #[test]
    fn whoever_commits_nothing_for_a_whole_lease_in_which_this_one_does_is_suspected() {
        let (mut roll, start) = (Roll::new(LEASE), Instant::now());
        look(&mut roll, start, 0..8);
        assert_eq!(stalled(&roll, start, 7), [0; 0]);
        assert_eq!(stalled(&roll, start, 8), [2]);
    }

    #[test]
    fn one_commit_begins_the_lease_anew() {
        let (mut roll, start) = (Roll::new(LEASE), Instant::now());
        look(&mut roll, start, 0..8);
        roll.observe(start + LEASE, &[other(1, 8), other(2, 8)]);
        look(&mut roll, start, 9..10);
        assert_eq!(stalled(&roll, start, 9), [0; 0]);
    }

    #[test]
    fn a_gap_in_which_nothing_was_seen_proves_nothing() {
        let (mut roll, start) = (Roll::new(LEASE), Instant::now());
        look(&mut roll, start, 0..7);
        assert_eq!(stalled(&roll, start, 30), [0; 0]);
        look(&mut roll, start, 30..38);
        assert_eq!(stalled(&roll, start, 37), [0; 0]);
        assert_eq!(stalled(&roll, start, 38), [2]);
        let steady = roll.steady_for(start + Duration::from_secs(38));
        assert_eq!(steady, Duration::from_secs(8));
    }

    #[test]
    fn whoever_is_gone_from_the_table_is_forgotten() {
        let (mut roll, start) = (Roll::new(LEASE), Instant::now());
        look(&mut roll, start, 0..8);
        roll.observe(start + LEASE, &[]);
        assert_eq!(stalled(&roll, start, 9), [0; 0]);
        assert!(roll.seen.is_empty());
    }
}
