//! The record of one vehicle, and how it changes within a batch.

use std::time::Duration;

use crate::domain::{
    Action, Battery, DeviceId, DisconnectReason, EventKind, EventKinds, IncarnationId, Latitude,
    Longitude, ReportInterval, Running, Timestamp, Vehicle, VehicleState,
};

/// The longest grace that `presence.offline_grace` allows.
pub(crate) const LONGEST_GRACE: Duration = Duration::from_mins(10);

/// Everything that is kept of a vehicle, apart from its history.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct VehicleRecord {
    /// The vehicle as callers see it. `instance_id` is the incarnation that holds its session, `None` once the session
    /// has ended; `updated_at` is the last stamp: what is stored about the vehicle is stamped with the time, but never
    /// before this.
    pub(crate) vehicle: Vehicle,
    /// The epoch of the newest session. It outlasts the deletion of the vehicle.
    pub(crate) session_epoch: i64,
    /// The end of the grace: when the vehicle becomes offline unless it has logged in again. Set while it is online
    /// without a session.
    pub(crate) offline_due: Option<Timestamp>,
    /// Set while the record is a tombstone, which keeps the epoch and nothing else of the vehicle.
    pub(crate) deleted_at: Option<Timestamp>,
    /// History up to and including this time is from before a deletion of the vehicle: hidden, and purged in small
    /// steps.
    pub(crate) forget_through: Option<Timestamp>,
}

/// Which columns of a vehicle's row have to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChangedColumns {
    /// None.
    None,
    /// Those that reports and heartbeats change.
    Telemetry,
    /// All.
    All,
}

/// A vehicle within a batch.
#[derive(Debug)]
pub(crate) struct VehicleEntry {
    /// `None` while the vehicle was never heard of.
    pub(crate) record: Option<VehicleRecord>,
    /// What the batch changed so far.
    pub(crate) changed: ChangedColumns,
    /// Whether the database has no row for it yet.
    pub(crate) is_new: bool,
}

/// The values of a vehicle that reports and answers change.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Readings {
    position: (Option<Latitude>, Option<Longitude>),
    battery: Option<Battery>,
    running: Option<Running>,
}

impl VehicleRecord {
    /// The record of a vehicle first heard of at `now`, about which nothing else is known.
    pub(crate) fn new(device_id: &DeviceId, now: Timestamp) -> Self {
        Self {
            vehicle: Vehicle {
                device_id: device_id.clone(),
                online: false,
                latitude: None,
                longitude: None,
                battery: None,
                running: None,
                reported_at: None,
                last_heartbeat: None,
                update_frequency: None,
                acknowledged_update_frequency: None,
                connected_at: None,
                disconnected_at: None,
                disconnect_reason: None,
                remote_address: None,
                instance_id: None,
                created_at: now,
                updated_at: now,
            },
            session_epoch: 0,
            offline_due: None,
            deleted_at: None,
            forget_through: None,
        }
    }

    /// Stamps a change with `at`, or with the last stamp if that is later. Returns the stamp.
    pub(super) fn stamp(&mut self, at: Timestamp) -> Timestamp {
        self.vehicle.updated_at = self.vehicle.updated_at.max(at);
        self.vehicle.updated_at
    }

    /// Whether this session holds the vehicle.
    pub(super) fn is_held_by(&self, incarnation: IncarnationId, epoch: i64) -> bool {
        self.deleted_at.is_none()
            && self.session_epoch == epoch
            && self.vehicle.instance_id == Some(incarnation)
    }

    /// Ends the session that holds the vehicle. `at` is a stamp of this record.
    pub(super) fn close_session(&mut self, at: Timestamp, reason: DisconnectReason) {
        self.vehicle.instance_id = None;
        self.vehicle.disconnected_at = Some(at);
        self.vehicle.disconnect_reason = Some(reason);
    }
}

impl VehicleEntry {
    /// A vehicle as the database has it; `None` if it has no row.
    pub(crate) fn read(record: Option<VehicleRecord>) -> Self {
        Self {
            is_new: record.is_none(),
            record,
            changed: ChangedColumns::None,
        }
    }

    /// The record of a vehicle that exists: one that is known and not deleted.
    pub(super) fn existing(&self) -> Option<&VehicleRecord> {
        self.record
            .as_ref()
            .filter(|record| record.deleted_at.is_none())
    }

    /// Whether the vehicle is online.
    pub(super) fn is_online(&self) -> bool {
        self.record
            .as_ref()
            .is_some_and(|record| record.vehicle.online)
    }

    /// The report interval that an operator wants.
    pub(super) fn desired_interval(&self) -> Option<ReportInterval> {
        self.record.as_ref()?.vehicle.update_frequency
    }

    /// Stamps a change of the record and returns the stamp.
    pub(super) fn stamp(&mut self, at: Timestamp, changed: ChangedColumns) -> Timestamp {
        self.changed = self.changed.max(changed);
        self.record.as_mut().map_or(at, |record| record.stamp(at))
    }

    /// The time of something about this vehicle that does not change its record: `at`, but never before its last stamp.
    pub(super) fn no_earlier(&self, at: Timestamp) -> Timestamp {
        self.record
            .as_ref()
            .map_or(at, |record| at.max(record.vehicle.updated_at))
    }

    /// The record of a vehicle that exists from now on. It is made if the vehicle is unknown or the record is a
    /// tombstone.
    pub(super) fn make_exist(&mut self, device_id: &DeviceId, at: Timestamp) -> &mut VehicleRecord {
        const TICK: Duration = Duration::from_millis(1);
        self.changed = ChangedColumns::All;
        let record = self
            .record
            .get_or_insert_with(|| VehicleRecord::new(device_id, at));
        if let Some(deleted_at) = record.deleted_at {
            // Strictly later than the history that is to be purged, so that a comparison of times distinguishes old and
            // new history.
            let reborn_at = at
                .max(deleted_at.after(TICK))
                .max(record.vehicle.updated_at.after(TICK));
            *record = VehicleRecord {
                session_epoch: record.session_epoch,
                forget_through: record.forget_through,
                ..VehicleRecord::new(device_id, reborn_at)
            };
        }
        record
    }

    /// Applies a report and returns when it counts as received.
    pub(super) fn report(&mut self, at: Timestamp, state: &VehicleState) -> Timestamp {
        let at = self.stamp(at, ChangedColumns::Telemetry);
        if let Some(VehicleRecord { vehicle, .. }) = &mut self.record {
            vehicle.latitude = Some(state.latitude);
            vehicle.longitude = Some(state.longitude);
            vehicle.battery = Some(state.battery);
            vehicle.running = Some(state.running);
            vehicle.reported_at = Some(at);
        }
        at
    }

    /// Notes a heartbeat. Leaves `updated_at` alone: heartbeats are stored late and change nothing else of the vehicle.
    pub(super) fn heartbeat(&mut self, at: Timestamp) {
        self.changed = self.changed.max(ChangedColumns::Telemetry);
        if let Some(VehicleRecord { vehicle, .. }) = &mut self.record {
            vehicle.last_heartbeat = vehicle.last_heartbeat.max(Some(at));
        }
    }

    /// Ends the session. The vehicle stays online until `due`, the end of its grace; without one it is offline at once.
    pub(super) fn end_session(
        &mut self,
        at: Timestamp,
        reason: DisconnectReason,
        due: Option<Timestamp>,
    ) {
        let at = self.stamp(at, ChangedColumns::All);
        if let Some(record) = &mut self.record {
            record.vehicle.online = due.is_some();
            record.offline_due = due;
            record.close_session(at, reason);
        }
    }

    /// Sets the vehicle offline if its grace is over, and returns why its session had ended.
    pub(super) fn end_grace(&mut self, at: Timestamp) -> Option<DisconnectReason> {
        let is_over = |record: &VehicleRecord| {
            record.offline_due.is_some_and(|due| is_grace_over(due, at))
                && record.vehicle.online
                && record.vehicle.instance_id.is_none()
        };
        if !self.record.as_ref().is_some_and(is_over) {
            return None;
        }
        self.stamp(at, ChangedColumns::All);
        let record = self.record.as_mut()?;
        record.vehicle.online = false;
        record.offline_due = None;
        let reason = record.vehicle.disconnect_reason;
        Some(reason.unwrap_or(DisconnectReason::InstanceLost))
    }

    /// Sets the report interval that an operator wants.
    pub(super) fn desire_interval(&mut self, interval: ReportInterval, at: Timestamp) {
        self.stamp(at, ChangedColumns::All);
        if let Some(VehicleRecord { vehicle, .. }) = &mut self.record {
            vehicle.update_frequency = Some(interval);
        }
    }

    /// Sets the report interval that the vehicle says it keeps.
    pub(super) fn acknowledge_interval(&mut self, interval: ReportInterval, at: Timestamp) {
        self.stamp(at, ChangedColumns::All);
        if let Some(VehicleRecord { vehicle, .. }) = &mut self.record {
            vehicle.acknowledged_update_frequency = Some(interval);
        }
    }

    /// Notes that the vehicle was turned on or off.
    pub(super) fn set_running(&mut self, running: Running, at: Timestamp) {
        self.stamp(at, ChangedColumns::Telemetry);
        if let Some(VehicleRecord { vehicle, .. }) = &mut self.record {
            vehicle.running = Some(running);
        }
    }

    /// The action, with the report interval that is desired now if it sets one.
    pub(super) fn with_desired_interval(&self, action: Action) -> Action {
        match (action, self.desired_interval()) {
            (Action::KeepMePosted(_), Some(interval)) => Action::KeepMePosted(interval),
            _ => action,
        }
    }

    /// The current readings.
    pub(super) fn readings(&self) -> Readings {
        self.record
            .as_ref()
            .map_or_else(Readings::default, |record| Readings {
                position: (record.vehicle.latitude, record.vehicle.longitude),
                battery: record.vehicle.battery,
                running: record.vehicle.running,
            })
    }
}

/// Whether a grace that ends at `due` is over. One that would last longer than any grace was begun by a clock that was
/// set back since, and is over, too.
fn is_grace_over(due: Timestamp, at: Timestamp) -> bool {
    due <= at || due > at.furthest_ahead(LONGEST_GRACE)
}

impl Readings {
    /// The kinds of events that report the differences to `before`.
    pub(super) fn changed_since(&self, before: &Self) -> EventKinds {
        let differences = [
            (EventKind::Position, self.position != before.position),
            (EventKind::Battery, self.battery != before.battery),
            (EventKind::Running, self.running != before.running),
        ];
        let changed = differences.into_iter().filter(|(_, differs)| *differs);
        changed.map(|(kind, _)| kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grace_lasts_as_long_as_it_may_on_clocks_that_are_apart() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        for (due, is_over) in [
            (now, true),
            (now.after(Duration::from_millis(1)), false),
            (now.after(LONGEST_GRACE), false),
            // As another instance begins it whose clock is ahead.
            (now.after(LONGEST_GRACE + Duration::from_secs(5)), false),
            (now.after(Duration::from_hours(1)), true),
        ] {
            assert_eq!(is_grace_over(due, now), is_over, "{due}");
        }
    }
}
