//! The rows of a batch in memory, and what the store is to write and publish for it.

use std::collections::HashMap;

use bytes::Bytes;
use uuid::Uuid;

use super::{
    commands::CommandSet,
    vehicle::{Readings, VehicleEntry},
};
use crate::domain::{
    Command, DeviceId, DisconnectReason, Event, EventKinds, IncarnationId, STATE_EVENTS,
    SessionKey, Timestamp, Vehicle, VehicleChange, VehicleState,
};

/// A report to insert.
#[derive(Debug, PartialEq)]
pub(crate) struct NewReport {
    pub(crate) device_id: DeviceId,
    pub(crate) received_at: Timestamp,
    pub(crate) state: VehicleState,
}

/// A debug blob to insert.
#[derive(Debug, PartialEq)]
pub(crate) struct NewBlob {
    pub(crate) device_id: DeviceId,
    pub(crate) received_at: Timestamp,
    pub(crate) content: Bytes,
    /// The index of its event in [`BatchState::events`], which gets the blob's id once that is known. `None` if no
    /// endpoint subscribes to such events.
    pub(crate) event: Option<usize>,
}

/// A session that another instance holds and that a commit of this one ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Eviction {
    /// The incarnation that holds it.
    pub owner: IncarnationId,
    /// The vehicle whose session it is.
    pub device_id: DeviceId,
    /// The epoch of the session. Every session of the vehicle up to this epoch is over.
    pub through_epoch: i64,
    /// Why it is over.
    pub reason: DisconnectReason,
}

/// The vehicles and commands of a batch as its requests have left them so far.
#[derive(Debug)]
pub(crate) struct BatchState {
    /// The incarnation of this instance that the batch is written by.
    pub(crate) incarnation: IncarnationId,
    /// When the batch is applied, which may be much later than when a request was made.
    pub(crate) now: Timestamp,
    pub(crate) vehicles: HashMap<DeviceId, VehicleEntry>,
    pub(crate) reports: Vec<NewReport>,
    pub(crate) blobs: Vec<NewBlob>,
    pub(crate) commands: CommandSet,
    /// Sessions of other instances that this batch ends.
    pub(crate) evictions: Vec<Eviction>,
    /// The kinds of events that some endpoint subscribes to.
    subscribed: EventKinds,
    /// The events of those kinds, in order. `None` in place of the events of a vehicle that a later request of the
    /// batch deleted.
    pub(crate) events: Vec<Option<Event>>,
    /// Vehicles that this batch deletes.
    pub(crate) deleted: Vec<DeviceId>,
}

impl BatchState {
    /// Begins with the vehicles and commands that were read. A vehicle that is not among them does not exist.
    pub(crate) fn new(
        incarnation: IncarnationId,
        now: Timestamp,
        vehicles: HashMap<DeviceId, VehicleEntry>,
        commands: CommandSet,
        subscribed: EventKinds,
    ) -> Self {
        Self {
            incarnation,
            now,
            vehicles,
            reports: Vec::new(),
            blobs: Vec::new(),
            commands,
            evictions: Vec::new(),
            subscribed,
            events: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// The entry of a vehicle, empty if it was never heard of.
    pub(super) fn entry(&mut self, device_id: &DeviceId) -> &mut VehicleEntry {
        self.vehicles
            .entry(device_id.clone())
            .or_insert(VehicleEntry::read(None))
    }

    /// The vehicle of `session`, if that still holds it.
    pub(super) fn held(&mut self, session: &SessionKey) -> Option<&mut VehicleEntry> {
        let entry = self.vehicles.get_mut(&session.device_id)?;
        let record = entry.record.as_ref()?;
        record
            .is_held_by(self.incarnation, session.epoch)
            .then_some(entry)
    }

    /// Applies a report of a vehicle that exists: its state, and a row of history.
    pub(super) fn report(&mut self, device_id: &DeviceId, at: Timestamp, state: &VehicleState) {
        let entry = self.entry(device_id);
        let before = entry.readings();
        let received_at = entry.report(at, state);
        self.emit_change(device_id, before);
        self.reports.push(NewReport {
            device_id: device_id.clone(),
            received_at,
            state: *state,
        });
    }

    /// Adds an eviction if another incarnation than this one holds the session, whose instance is notified after the
    /// commit.
    pub(super) fn evict(
        &mut self,
        owner: Option<IncarnationId>,
        device_id: &DeviceId,
        through_epoch: i64,
        reason: DisconnectReason,
    ) {
        if let Some(owner) = owner.filter(|owner| *owner != self.incarnation) {
            self.evictions.push(Eviction {
                owner,
                device_id: device_id.clone(),
                through_epoch,
                reason,
            });
        }
    }

    /// Whether some endpoint subscribes to a kind of event that this change is.
    pub(super) fn is_subscribed(&self, change: &VehicleChange) -> bool {
        !(change.kinds() & self.subscribed).is_empty()
    }

    /// Adds an event about a vehicle as its record is now, if some endpoint subscribes to it. Returns its index.
    pub(super) fn emit(&mut self, device_id: &DeviceId, change: VehicleChange) -> Option<usize> {
        if !self.is_subscribed(&change) {
            return None;
        }
        let record = self.vehicles.get(device_id)?.record.as_ref()?;
        let vehicle = record.vehicle.clone();
        Some(self.push_event(vehicle, change))
    }

    pub(super) fn push_event(&mut self, vehicle: Vehicle, change: VehicleChange) -> usize {
        let at = vehicle.updated_at;
        self.events.push(Some(Event {
            vehicle,
            at,
            change,
            only_for: None,
        }));
        self.events.len() - 1
    }

    /// Adds an event for one endpoint about the state of a vehicle as it is now, if anything is known of it.
    pub(crate) fn report_current_state(&mut self, device_id: &DeviceId, endpoint_id: Uuid) {
        let entry = self.vehicles.get(device_id);
        let record = entry.and_then(VehicleEntry::existing);
        let Some(vehicle) = record.map(|record| record.vehicle.clone()) else {
            return;
        };
        if vehicle.latitude.is_none() && vehicle.battery.is_none() && vehicle.running.is_none() {
            return;
        }
        let index = self.push_event(vehicle, VehicleChange::State(STATE_EVENTS));
        if let Some(event) = &mut self.events[index] {
            event.only_for = Some(endpoint_id);
        }
    }

    /// Adds an event for what changed since the readings of this vehicle were `before`.
    pub(super) fn emit_change(&mut self, device_id: &DeviceId, before: Readings) {
        let changed = self.entry(device_id).readings().changed_since(&before);
        self.emit(device_id, VehicleChange::State(changed));
    }

    /// Adds the events of commands that reached a final state. To be called last, so that the events that led to it
    /// come first.
    pub(crate) fn emit_finished(&mut self, finished: &[Command]) {
        for command in finished {
            let change = VehicleChange::Command(Box::new(command.clone()));
            self.emit(&command.device_id, change);
        }
    }

    /// Takes back the events of a vehicle. If one of them was that it came online or went offline, returns whether it
    /// was online before the first of those, as far as any endpoint knows.
    pub(super) fn withdraw_events(&mut self, device_id: &DeviceId) -> Option<bool> {
        let mut was_online = None;
        for event in &mut self.events {
            let withdrawn = event.take_if(|event| event.vehicle.device_id == *device_id);
            match withdrawn.map(|event| event.change) {
                Some(VehicleChange::Online) => was_online = was_online.or(Some(false)),
                Some(VehicleChange::Offline(_)) => was_online = was_online.or(Some(true)),
                _ => {}
            }
        }
        was_online
    }
}
