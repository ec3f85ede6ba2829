//! Logins, session writes, the ends of sessions, and the creation and deletion of vehicles.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use uuid::Uuid;

use super::{
    batch::{BatchState, NewBlob},
    vehicle::{ChangedColumns, VehicleRecord},
};
use crate::domain::{
    Action, Answer, CommandState, DeviceId, DisconnectReason, IncarnationId, ReportInterval,
    SessionKey, Timestamp, Vehicle, VehicleChange, VehicleState,
};

/// The outcome of a login.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// The epoch of the new session.
    pub epoch: i64,
    /// The report interval that an operator wants.
    pub desired: Option<ReportInterval>,
    /// Commands that waited for the login, oldest first.
    pub queued: Vec<(Uuid, Action)>,
}

/// The outcome of a session's write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// It is stored.
    Stored,
    /// The vehicle's row no longer names this session: nothing is stored.
    Stale,
}

/// The outcome of a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The vehicle as it is now.
    pub vehicle: Vehicle,
    /// False if it existed before.
    pub created: bool,
}

/// A write that is valid only while its session holds the vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SessionWrite {
    /// A report: a row of history, and the vehicle's state.
    Report(VehicleState),
    /// A crash dump.
    DebugBlob(Bytes),
    /// The report interval that the vehicle says it keeps.
    KeepMePosted(ReportInterval),
    /// The answer to a command.
    Answer {
        /// The command's id.
        id: Uuid,
        /// Whether it came after the command was given up.
        late: bool,
        /// The vehicle's sentence.
        answer: Answer,
    },
    /// The session is over.
    End {
        /// Why it ended.
        reason: DisconnectReason,
        /// The last heartbeat of the session; `None` if there was none, or if this instance does not have the session.
        last_heartbeat: Option<Timestamp>,
        /// How long the vehicle may take to come back before it is offline; `None`: it is offline at once.
        grace: Option<Duration>,
    },
}

/// Which sessions are lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LostSessions {
    /// All: this process owns the database, so every stored session is one of an earlier process.
    All,
    /// Those of a dead incarnation. With a grace, their vehicles stay online for that long.
    OfIncarnation(IncarnationId, Option<Duration>),
}

impl BatchState {
    /// Begins a session: the vehicle gets the next epoch and is online. An earlier session that still holds the vehicle
    /// is superseded.
    pub(crate) fn log_in(
        &mut self,
        device_id: &DeviceId,
        remote: SocketAddr,
        at: Timestamp,
    ) -> Login {
        let incarnation = self.incarnation;
        let record = self.entry(device_id).make_exist(device_id, at);
        let at = record.stamp(at);
        let (through_epoch, was_online) = (record.session_epoch, record.vehicle.online);
        let owner = record.vehicle.instance_id;
        let reason = DisconnectReason::Superseded;
        if owner.is_some() {
            record.close_session(at, reason);
        }
        record.session_epoch += 1;
        record.offline_due = None;
        let vehicle = &mut record.vehicle;
        vehicle.instance_id = Some(incarnation);
        vehicle.online = true;
        vehicle.connected_at = Some(at);
        vehicle.remote_address = Some(remote);
        let (epoch, desired) = (record.session_epoch, record.vehicle.update_frequency);
        if !was_online {
            self.emit(device_id, VehicleChange::Online);
        }
        self.evict(owner, device_id, through_epoch, reason);
        self.commands.end_session(device_id, at, reason);
        Login {
            epoch,
            desired,
            queued: self.commands.take_queued(device_id, at),
        }
    }

    /// Applies what a session writes, if it still holds its vehicle.
    pub(crate) fn write_session(
        &mut self,
        session: &SessionKey,
        at: Timestamp,
        write: &SessionWrite,
    ) -> Written {
        let now = self.now;
        let device_id = &session.device_id;
        let Some(entry) = self.held(session) else {
            return Written::Stale;
        };
        match write {
            SessionWrite::Report(state) => self.report(device_id, at, state),
            SessionWrite::Answer { id, late, answer } => {
                self.answer(session, *id, *late, *answer, at);
            }
            SessionWrite::DebugBlob(content) => {
                let received_at = entry.stamp(at, ChangedColumns::Telemetry);
                self.add_blob(device_id, received_at, content);
            }
            SessionWrite::KeepMePosted(interval) => entry.acknowledge_interval(*interval, at),
            SessionWrite::End {
                reason,
                last_heartbeat,
                grace,
            } => {
                if let Some(beat) = last_heartbeat {
                    entry.heartbeat(*beat);
                }
                let due = grace.map(|grace| now.after(grace));
                self.end_session(device_id, at, *reason, due);
            }
        }
        Written::Stored
    }

    fn add_blob(&mut self, device_id: &DeviceId, received_at: Timestamp, content: &Bytes) {
        let change = VehicleChange::DebugBlob {
            // The database gives the id when the blob is inserted.
            id: 0,
            content: content.clone(),
        };
        let event = self.emit(device_id, change);
        self.blobs.push(NewBlob {
            device_id: device_id.clone(),
            received_at,
            content: content.clone(),
            event,
        });
    }

    /// Notes the last heartbeat of a session that still holds its vehicle.
    pub(crate) fn heartbeat(&mut self, session: &SessionKey, at: Timestamp) {
        if let Some(entry) = self.held(session) {
            entry.heartbeat(at);
        }
    }

    /// Ends the session of a vehicle if it is among those that are lost.
    pub(crate) fn end_lost_session(
        &mut self,
        device_id: &DeviceId,
        lost: &LostSessions,
        at: Timestamp,
    ) {
        let reason = DisconnectReason::InstanceLost;
        let now = self.now;
        let entry = self.entry(device_id);
        match lost {
            LostSessions::All => {
                if entry.is_online() {
                    self.end_session(device_id, at, reason, None);
                } else {
                    self.commands.end_session(device_id, at, reason);
                }
                // The requests that waited for these commands ended with the earlier process.
                self.commands
                    .cancel(device_id, at, |state| state == CommandState::Created);
            }
            LostSessions::OfIncarnation(incarnation, grace) => {
                let record = entry.record.as_ref();
                if record.and_then(|record| record.vehicle.instance_id) == Some(*incarnation) {
                    let due = grace.map(|grace| now.after(grace));
                    self.end_session(device_id, at, reason, due);
                }
            }
        }
    }

    /// Ends a session and the commands that it had claimed. The vehicle stays online until `due`, the end of its grace;
    /// without one it is offline at once.
    fn end_session(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        reason: DisconnectReason,
        due: Option<Timestamp>,
    ) {
        let entry = self.entry(device_id);
        let was_online = entry.is_online();
        entry.end_session(at, reason, due);
        if was_online && due.is_none() {
            self.emit(device_id, VehicleChange::Offline(reason));
        }
        self.commands.end_session(device_id, at, reason);
    }

    /// Sets a vehicle offline if it has not come back within its grace.
    pub(crate) fn end_grace(&mut self, device_id: &DeviceId, at: Timestamp) {
        if let Some(reason) = self.entry(device_id).end_grace(at) {
            self.emit(device_id, VehicleChange::Offline(reason));
        }
    }

    /// Makes a vehicle; one that exists stays as it is.
    pub(crate) fn register(&mut self, device_id: &DeviceId, at: Timestamp) -> Registered {
        let entry = self.entry(device_id);
        if let Some(record) = entry.existing() {
            return Registered {
                vehicle: record.vehicle.clone(),
                created: false,
            };
        }
        Registered {
            vehicle: entry.make_exist(device_id, at).vehicle.clone(),
            created: true,
        }
    }

    /// Applies a report that came without a session, over REST. Makes the vehicle if it does not exist.
    pub(crate) fn update_status(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        state: &VehicleState,
    ) -> Vehicle {
        self.entry(device_id).make_exist(device_id, at);
        self.report(device_id, at, state);
        let record = self.entry(device_id).make_exist(device_id, at);
        record.vehicle.clone()
    }

    /// Deletes a vehicle, if it exists, and returns its last epoch. Leaves a tombstone with the epoch, so that epochs
    /// never repeat, and with the time up to which history is to be purged.
    pub(crate) fn delete(&mut self, device_id: &DeviceId, at: Timestamp) -> Option<i64> {
        let entry = self.entry(device_id);
        let mut last = entry.existing()?.clone();
        let at = last.stamp(at);
        let epoch = last.session_epoch;
        let owner = last.vehicle.instance_id;
        entry.record = Some(VehicleRecord {
            vehicle: Vehicle {
                created_at: last.vehicle.created_at,
                ..VehicleRecord::new(device_id, at).vehicle
            },
            session_epoch: epoch,
            offline_due: None,
            deleted_at: Some(at),
            forget_through: Some(at),
        });
        entry.changed = ChangedColumns::All;
        // What this batch was about to add to the vehicle's history is not written either.
        self.reports.retain(|report| report.device_id != *device_id);
        self.blobs.retain(|blob| blob.device_id != *device_id);
        let was_online = self.withdraw_events(device_id);
        let was_online = was_online.unwrap_or(last.vehicle.online);
        self.deleted.push(device_id.clone());
        let reason = DisconnectReason::Deleted;
        let change = VehicleChange::Offline(reason);
        if was_online && self.is_subscribed(&change) {
            last.close_session(at, reason);
            last.vehicle.online = false;
            self.push_event(last.vehicle, change);
        }
        self.evict(owner, device_id, epoch, reason);
        self.commands.end_session(device_id, at, reason);
        self.commands.cancel(device_id, at, |_| true);
        Some(epoch)
    }

    /// Notes that the history of a deleted vehicle is purged up to `through`, unless the vehicle was deleted again
    /// since.
    pub(crate) fn history_purged(&mut self, device_id: &DeviceId, through: Timestamp) {
        let entry = self.entry(device_id);
        if let Some(record) = &mut entry.record
            && record.forget_through == Some(through)
        {
            record.forget_through = None;
            entry.changed = ChangedColumns::All;
        }
    }
}

#[cfg(test)]
#[path = "presence_tests.rs"]
mod tests;
