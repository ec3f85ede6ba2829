//! Keeps the per-vehicle FIFO order of commands across reconnects: the reply slots of the old session and of the new
//! one do not know of each other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use crate::domain::{AnswerKind, DeviceId};

/// The unsent commands of each vehicle, by kind of answer. Ids ascend in the order in which commands were made.
///
/// A plain mutex: it is held for a few instructions, never across an await.
#[derive(Debug, Default)]
pub(super) struct PendingOrder(Mutex<UnsentCommands>);

type UnsentCommands = HashMap<DeviceId, BTreeSet<(AnswerKind, Uuid)>>;

impl PendingOrder {
    /// Adds a command, which counts as unsent until the result is dropped.
    pub(super) fn add(
        self: &Arc<Self>,
        device_id: &DeviceId,
        kind: AnswerKind,
        id: Uuid,
    ) -> OrderGuard {
        let guard = OrderGuard {
            order: Arc::clone(self),
            device_id: device_id.clone(),
            command: (kind, id),
        };
        self.with(|unsent| {
            let of_vehicle = unsent.entry(guard.device_id.clone()).or_default();
            of_vehicle.insert(guard.command)
        });
        guard
    }

    fn with<R>(&self, work: impl FnOnce(&mut UnsentCommands) -> R) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Keeps one command in the [`PendingOrder`] until it is dropped.
#[derive(Debug)]
pub(super) struct OrderGuard {
    order: Arc<PendingOrder>,
    device_id: DeviceId,
    command: (AnswerKind, Uuid),
}

impl OrderGuard {
    /// Whether the vehicle has no older unsent command of the same kind.
    pub(super) fn is_first(&self) -> bool {
        let (kind, _) = self.command;
        self.order.with(|unsent| {
            let of_vehicle = unsent.get(&self.device_id);
            let first = of_vehicle.and_then(|all| all.range((kind, Uuid::nil())..).next());
            first == Some(&self.command)
        })
    }
}

impl Drop for OrderGuard {
    fn drop(&mut self) {
        self.order.with(|unsent| {
            if let Some(of_vehicle) = unsent.get_mut(&self.device_id) {
                of_vehicle.remove(&self.command);
                if of_vehicle.is_empty() {
                    unsent.remove(&self.device_id);
                }
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_of_a_vehicle_and_kind_is_first() {
        let pending = Arc::new(PendingOrder::default());
        let truck = DeviceId::parse("truck").unwrap();
        let van = DeviceId::parse("van").unwrap();
        let add = |device_id, kind, id| pending.add(device_id, kind, Uuid::from_u128(id));
        let newer = add(&truck, AnswerKind::Done, 2);
        let older = add(&truck, AnswerKind::Done, 1);
        let others = [
            add(&truck, AnswerKind::Fine, 3),
            add(&truck, AnswerKind::SeeYa, 4),
            add(&van, AnswerKind::Done, 5),
        ];
        assert!(older.is_first() && !newer.is_first());
        assert!(others.iter().all(OrderGuard::is_first));
        drop(older);
        assert!(newer.is_first());
        drop((newer, others));
        assert!(pending.with(|unsent| unsent.is_empty()));
    }
}
