//! In which order commands are sent that outlast a session: the lines of the old one and the new one do
//! not know of each other.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use uuid::Uuid;

use crate::domain::{AnswerKind, DeviceId};

/// The commands of each vehicle that are not sent yet. A plain mutex: it is held for a few instructions.
#[derive(Debug, Default)]
pub(super) struct Unsent(Mutex<HashMap<DeviceId, BTreeSet<(AnswerKind, Uuid)>>>);

impl Unsent {
    /// Takes in a command until its place is dropped.
    pub(super) fn place(
        self: &Arc<Self>,
        device_id: &DeviceId,
        kind: AnswerKind,
        id: Uuid,
    ) -> Place {
        let place = Place {
            unsent: Arc::clone(self),
            device_id: device_id.clone(),
            command: (kind, id),
        };
        self.with(|unsent| {
            let of_vehicle = unsent.entry(place.device_id.clone()).or_default();
            of_vehicle.insert(place.command)
        });
        place
    }

    fn with<R>(
        &self,
        work: impl FnOnce(&mut HashMap<DeviceId, BTreeSet<(AnswerKind, Uuid)>>) -> R,
    ) -> R {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The place of one command among those of its vehicle that are not sent yet.
#[derive(Debug)]
pub(super) struct Place {
    unsent: Arc<Unsent>,
    device_id: DeviceId,
    command: (AnswerKind, Uuid),
}

impl Place {
    /// Whether no older command of its kind is to be sent first.
    pub(super) fn is_first(&self) -> bool {
        let (kind, _) = self.command;
        self.unsent.with(|unsent| {
            let of_vehicle = unsent.get(&self.device_id);
            let first = of_vehicle.and_then(|all| all.range((kind, Uuid::nil())..).next());
            first == Some(&self.command)
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.unsent.with(|unsent| {
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
    fn the_oldest_of_its_kind_and_vehicle_is_first_and_nothing_is_kept_of_those_that_are_gone() {
        let unsent = Arc::new(Unsent::default());
        let truck = DeviceId::parse("truck").unwrap();
        let van = DeviceId::parse("van").unwrap();
        let place = |device_id, kind, id| unsent.place(device_id, kind, Uuid::from_u128(id));
        let newer = place(&truck, AnswerKind::Done, 2);
        let older = place(&truck, AnswerKind::Done, 1);
        let others = [
            place(&truck, AnswerKind::Fine, 3),
            place(&truck, AnswerKind::SeeYa, 4),
            place(&van, AnswerKind::Done, 5),
        ];
        assert!(older.is_first() && !newer.is_first());
        assert!(others.iter().all(Place::is_first));
        drop(older);
        assert!(newer.is_first());
        drop((newer, others));
        assert!(unsent.with(|unsent| unsent.is_empty()));
    }
}
