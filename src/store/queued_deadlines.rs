//! When queued commands expire, by a monotonic clock.
//!
//! The row of a queued command says until when it waits, by the clock of the database. If that clock is set back, the
//! command would wait for longer. So the instance that queued a command also measures its time by a monotonic clock.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use uuid::Uuid;

use crate::{
    domain::{Command, DeviceId},
    state::QueuedCommand,
};

/// Commands that are kept at most, about 150 bytes each. Others expire by the clock of the database alone.
const COMMANDS: usize = 100_000;

/// The commands that this instance queued and that have not ended here.
#[derive(Debug, Clone, Default)]
pub(super) struct QueuedDeadlines(Arc<Mutex<Deadlines>>);

#[derive(Debug, Default)]
struct Deadlines {
    by_time: BTreeSet<(Instant, Uuid)>,
    by_id: HashMap<Uuid, (Instant, DeviceId)>,
}

impl QueuedDeadlines {
    /// Notes commands whose time begins now.
    pub(super) fn add(&self, queued: Vec<QueuedCommand>) {
        if queued.is_empty() {
            return;
        }
        let now = Instant::now();
        self.with(|deadlines| {
            for command in queued {
                // A time beyond what the clock holds never comes.
                if deadlines.by_id.len() < COMMANDS
                    && let Some(deadline) = now.checked_add(command.lasts)
                {
                    deadlines.insert(command.id, deadline, command.device_id);
                }
            }
        });
    }

    /// Forgets commands that have ended.
    pub(super) fn remove(&self, ended: &[Command]) {
        if !ended.is_empty() {
            self.with(|deadlines| {
                for command in ended {
                    deadlines.remove(command.id);
                }
            });
        }
    }

    /// Takes out at most `limit` commands whose time is over.
    pub(super) fn take_overdue(&self, limit: usize) -> Vec<(DeviceId, Uuid)> {
        let now = Instant::now();
        self.with(|deadlines| {
            let mut overdue = Vec::new();
            while overdue.len() < limit
                && let Some((deadline, id)) = deadlines.by_time.first().copied()
                && deadline <= now
            {
                overdue.extend(deadlines.remove(id).map(|device_id| (device_id, id)));
            }
            overdue
        })
    }

    /// Puts a command back that was taken out: it is overdue at once.
    pub(super) fn put_back(&self, device_id: DeviceId, id: Uuid) {
        self.with(|deadlines| deadlines.insert(id, Instant::now(), device_id));
    }

    fn with<T>(&self, work: impl FnOnce(&mut Deadlines) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Deadlines {
    fn insert(&mut self, id: Uuid, deadline: Instant, device_id: DeviceId) {
        self.remove(id);
        self.by_time.insert((deadline, id));
        self.by_id.insert(id, (deadline, device_id));
    }

    fn remove(&mut self, id: Uuid) -> Option<DeviceId> {
        let (deadline, device_id) = self.by_id.remove(&id)?;
        self.by_time.remove(&(deadline, id));
        Some(device_id)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn queued(number: usize, lasts: Duration) -> QueuedCommand {
        QueuedCommand {
            id: Uuid::from_u128(number as u128),
            device_id: DeviceId::parse("truck").unwrap(),
            lasts,
        }
    }

    fn ids(overdue: &[(DeviceId, Uuid)]) -> Vec<u128> {
        overdue.iter().map(|(_, id)| id.as_u128()).collect()
    }

    #[test]
    fn commands_are_overdue_in_order_and_once() {
        let deadlines = QueuedDeadlines::default();
        deadlines.add(vec![
            queued(1, Duration::from_hours(1)),
            queued(2, Duration::ZERO),
            queued(3, Duration::ZERO),
            queued(4, Duration::MAX),
        ]);
        assert_eq!(ids(&deadlines.take_overdue(1)), [2]);
        let overdue = deadlines.take_overdue(10);
        assert_eq!(ids(&overdue), [3]);
        assert!(deadlines.take_overdue(10).is_empty());
        for (device_id, id) in overdue {
            deadlines.put_back(device_id, id);
        }
        assert_eq!(ids(&deadlines.take_overdue(10)), [3]);
    }

    #[test]
    fn no_more_than_a_hundred_thousand_commands_are_kept() {
        let deadlines = QueuedDeadlines::default();
        deadlines.add(
            (0..=COMMANDS)
                .map(|number| queued(number, Duration::ZERO))
                .collect(),
        );
        assert_eq!(deadlines.take_overdue(usize::MAX).len(), COMMANDS);
    }
}
