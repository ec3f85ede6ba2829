//! Decides when the rows of dead incarnations can be deleted from the table `instances`. Pure: observations and the
//! time are passed in.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::domain::IncarnationId;

/// The dead incarnations whose rows still exist.
#[derive(Debug)]
pub(super) struct DeadPeers {
    /// How long a row is kept at least after its incarnation was first seen dead.
    retention: Duration,
    dead_since: HashMap<IncarnationId, Instant>,
    removable: Vec<IncarnationId>,
}

impl DeadPeers {
    /// Keeps each row for more than `retention` after its incarnation was first seen dead.
    pub(super) fn new(retention: Duration) -> Self {
        Self {
            retention,
            dead_since: HashMap::new(),
            removable: Vec::new(),
        }
    }

    /// Notes which dead incarnations have a row now, and forgets those whose rows were deleted.
    pub(super) fn observe(&mut self, now: Instant, dead: &[IncarnationId]) {
        self.dead_since.retain(|id, _| dead.contains(id));
        for id in dead {
            self.dead_since.entry(*id).or_insert(now);
        }
    }

    /// Notes how many sessions of a dead incarnation a round found and ended. The row can be deleted once a round has
    /// found none and the retention is over.
    pub(super) fn sessions_ended(&mut self, now: Instant, id: IncarnationId, ended: usize) {
        let since = self.dead_since.get(&id);
        if ended == 0 && since.is_some_and(|since| now - *since > self.retention) {
            self.removable.push(id);
        }
    }

    /// Takes the incarnations whose rows have become removable since the last call.
    pub(super) fn take_removable(&mut self) -> Vec<IncarnationId> {
        std::mem::take(&mut self.removable)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const RETENTION: Duration = Duration::from_secs(10);
    fn dead() -> IncarnationId {
        Uuid::from_u128(1).into()
    }

    #[test]
    fn a_row_is_removable_without_sessions_and_after_its_retention() {
        for (seconds, ended, is_removable) in
            [(0, 0, false), (10, 0, false), (11, 3, false), (11, 0, true)]
        {
            let (mut peers, start) = (DeadPeers::new(RETENTION), Instant::now());
            peers.observe(start, &[dead()]);
            let now = start + Duration::from_secs(seconds);
            peers.observe(now, &[dead()]);
            peers.sessions_ended(now, dead(), ended);
            let removable = peers.take_removable();
            assert_eq!(removable == [dead()], is_removable, "{seconds} s, {ended}");
            assert!(peers.take_removable().is_empty());
        }
    }

    #[test]
    fn an_incarnation_without_a_row_is_forgotten() {
        let (mut peers, start) = (DeadPeers::new(RETENTION), Instant::now());
        peers.observe(start, &[dead()]);
        peers.observe(start, &[]);
        let later = start + RETENTION * 2;
        peers.observe(later, &[dead()]);
        peers.sessions_ended(later, dead(), 0);
        assert!(peers.take_removable().is_empty());
    }
}
