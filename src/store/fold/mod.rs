//! What a batch of intents makes of the rows it touches: intents applied in arrival order, in
//! memory, on rows that were read (and, on a shared database, locked) by the same transaction.
//!
//! Pure, so that the rules of presence can be tested without a database. Invariants kept here:
//! the committed logins of a vehicle get distinct, consecutive epochs, over deletion too; a
//! session's write counts only while the row names this instance and this epoch; what a vehicle's
//! rows are stamped with never goes back.

use std::{collections::HashMap, net::SocketAddr};

use bytes::Bytes;
use uuid::Uuid;

pub(super) mod commands;

use super::{
    Eviction, Login, LostSessions, Registered, SessionWrite, StoreError, Written,
    entities::vehicle, intent::Intent,
};
use crate::domain::{
    Command, CommandState, DeviceId, DisconnectReason, Event, EventKind, EventKinds, SessionKey,
    Timestamp, Vehicle, VehicleChange, VehicleState,
};
use commands::{Commands, desired};

/// How much of a row has to be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    None,
    /// Only what reports and heartbeats change.
    Telemetry,
    All,
}

/// A vehicle's row during a batch; `model` is `None` while the vehicle was never heard of.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) model: Option<vehicle::Model>,
    pub(super) change: Change,
    /// It is not in the database yet.
    pub(super) is_new: bool,
}

#[derive(Debug, PartialEq)]
pub(super) struct NewReport {
    pub(super) device_id: DeviceId,
    pub(super) received_at: i64,
    pub(super) state: VehicleState,
}

#[derive(Debug, PartialEq)]
pub(super) struct NewBlob {
    pub(super) device_id: DeviceId,
    pub(super) received_at: i64,
    pub(super) content: Bytes,
    /// Its place among the events, if somebody wants to be told of it.
    pub(super) event: Option<usize>,
}

/// The rows of a batch and what is to be written of it.
#[derive(Debug)]
pub(super) struct Fold {
    life: Uuid,
    life_text: String,
    /// When this is done, which may be much later than when it was asked for.
    pub(super) now: Timestamp,
    pub(super) rows: HashMap<DeviceId, Row>,
    pub(super) reports: Vec<NewReport>,
    pub(super) blobs: Vec<NewBlob>,
    pub(super) commands: Commands,
    /// Sessions of other instances that are over by this batch.
    pub(super) evictions: Vec<Eviction>,
    /// What some webhook wants to be told of.
    wanted: EventKinds,
    /// That, in order; none where the vehicle was deleted after it.
    pub(super) events: Vec<Option<Event>>,
    /// Vehicles that were deleted by this batch.
    pub(super) deleted: Vec<DeviceId>,
}

impl Fold {
    /// Begins with the rows that exist; a vehicle that is not among them does not exist.
    pub(super) fn new(
        life: Uuid,
        now: Timestamp,
        rows: HashMap<DeviceId, Row>,
        commands: Commands,
        wanted: EventKinds,
    ) -> Self {
        Self {
            life,
            life_text: life.to_string(),
            now,
            rows,
            reports: Vec::new(),
            blobs: Vec::new(),
            commands,
            evictions: Vec::new(),
            wanted,
            events: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Applies one intent and sets its outcome.
    pub(super) fn apply(&mut self, intent: &mut Intent) {
        match intent {
            Intent::Login {
                device_id,
                remote,
                at,
                reply,
            } => reply.set(Ok(self.log_in(device_id, *remote, *at))),
            Intent::Session {
                session,
                at,
                write,
                reply,
            } => reply.set(Ok(self.session_write(session, *at, write))),
            Intent::Heartbeats { beats, reply } => {
                for (session, at) in beats.iter() {
                    if let Some(row) = self.held(session) {
                        row.heartbeat(*at);
                    }
                }
                reply.set(Ok(()));
            }
            Intent::EndLost {
                devices,
                whose,
                at,
                reply,
            } => {
                for device_id in devices.iter() {
                    self.end_lost_sessions(device_id, whose, *at);
                }
                reply.set(Ok(()));
            }
            Intent::EndGrace { devices, at, reply } => {
                for device_id in devices.iter() {
                    self.end_grace(device_id, *at);
                }
                reply.set(Ok(()));
            }
            Intent::Register {
                device_id,
                at,
                reply,
            } => reply.set(self.register(device_id, *at)),
            Intent::StatusUpdate {
                device_id,
                at,
                state,
                reply,
            } => reply.set(self.update_status(device_id, *at, state)),
            Intent::Delete {
                device_id,
                at,
                reply,
            } => reply.set(Ok(self.delete(device_id, *at))),
            Intent::Forgotten {
                device_id,
                through,
                reply,
            } => {
                self.forgotten(device_id, *through);
                reply.set(Ok(()));
            }
            Intent::Submit { command, reply } => reply.set(Ok(self.submit(command))),
            Intent::Claim {
                id,
                session,
                at,
                reply,
            } => reply.set(Ok(self.claim(*id, session, *at))),
            Intent::Finish {
                device_id,
                id,
                ending,
                at,
                reply,
            } => reply.set(Ok(self.finish(device_id, *id, *ending, *at))),
            // Touch no vehicle's row; the batch runs them as they are.
            Intent::Purge { .. } | Intent::Membership { .. } | Intent::Webhook(_) => {}
        }
    }

    fn log_in(&mut self, device_id: &DeviceId, remote: SocketAddr, at: Timestamp) -> Login {
        let life = self.life_text.clone();
        let model = self.row(device_id).living(device_id, at);
        let at = model.stamp(at);
        let (through_epoch, was_online) = (model.session_epoch, model.online);
        let owner = model.instance_id.replace(life);
        if owner.is_some() {
            model.disconnected_at = Some(at);
            model.disconnect_reason = Some(DisconnectReason::Superseded.as_str().to_owned());
        }
        model.session_epoch += 1;
        model.online = true;
        model.offline_due = None;
        model.connected_at = Some(at);
        model.remote_addr = Some(remote.to_string());
        let (epoch, desired) = (model.session_epoch, desired(model));
        if !was_online {
            self.tell(device_id, VehicleChange::Online);
        }
        let reason = DisconnectReason::Superseded;
        self.evict(owner.as_deref(), device_id, through_epoch, reason);
        let at = Timestamp::from_millis(at);
        self.commands.end_session(device_id, at, reason);
        Login {
            epoch,
            desired,
            queued: self.commands.take_queued(device_id, at),
        }
    }

    /// Notes that a session of another instance is over, if it is another's.
    fn evict(
        &mut self,
        owner: Option<&str>,
        device_id: &DeviceId,
        through_epoch: i64,
        reason: DisconnectReason,
    ) {
        let owner = owner.and_then(|owner| owner.parse().ok());
        if let Some(owner) = owner.filter(|owner| *owner != self.life) {
            self.evictions.push(Eviction {
                owner,
                device_id: device_id.clone(),
                through_epoch,
                reason,
            });
        }
    }

    fn end_lost_sessions(&mut self, device_id: &DeviceId, whose: &LostSessions, at: Timestamp) {
        let reason = DisconnectReason::InstanceLost;
        let now = self.now;
        let row = self.row(device_id);
        let model = row.model.as_ref();
        match whose {
            LostSessions::All => {
                if model.is_some_and(|model| model.online) {
                    self.end(device_id, at, reason, None);
                }
                self.commands.end_session(device_id, at, reason);
                // Whoever asked for them is gone as well.
                self.commands
                    .cancel(device_id, at, |state| state == CommandState::Created);
            }
            LostSessions::OfIncarnation(life, grace) => {
                let holder = model.and_then(|model| model.instance_id.as_deref());
                if holder == Some(&*life.to_string()) {
                    let due = grace.map(|grace| now.after(grace));
                    self.end(device_id, at, reason, due);
                    self.commands.end_session(device_id, at, reason);
                }
            }
        }
    }

    /// Ends a session; with a time by which it is due to be back, the vehicle stays online until then.
    fn end(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        reason: DisconnectReason,
        due: Option<Timestamp>,
    ) {
        let row = self.row(device_id);
        let was_online = row.model.as_ref().is_some_and(|model| model.online);
        row.end(at, reason, due);
        if was_online && due.is_none() {
            self.tell(device_id, VehicleChange::Offline(reason));
        }
    }

    fn end_grace(&mut self, device_id: &DeviceId, at: Timestamp) {
        if let Some(reason) = self.row(device_id).end_grace(at) {
            self.tell(device_id, VehicleChange::Offline(reason));
        }
    }

    /// Notes what became of a vehicle, as its row is now, if somebody wants to be told of it; and where.
    fn tell(&mut self, device_id: &DeviceId, change: VehicleChange) -> Option<usize> {
        if (change.kinds() & self.wanted).is_empty() {
            return None;
        }
        let model = self.rows.get(device_id)?.model.clone()?;
        self.tell_of(model, change)
    }

    fn tell_of(&mut self, model: vehicle::Model, change: VehicleChange) -> Option<usize> {
        let at = Timestamp::from_millis(model.updated_at);
        match Vehicle::try_from(model) {
            Ok(vehicle) => {
                self.events.push(Some(Event {
                    vehicle,
                    at,
                    change,
                }));
                Some(self.events.len() - 1)
            }
            // Not of our making. It must not hold up everybody else's writes.
            Err(error) => {
                tracing::error!(%error, "webhooks are not told of a vehicle whose row is corrupt");
                None
            }
        }
    }

    /// Notes what changed since the row of this vehicle was `before`.
    pub(super) fn tell_change(&mut self, device_id: &DeviceId, before: State) {
        let after = self.row(device_id).state();
        let changed = after.changed_since(&before);
        self.tell(device_id, VehicleChange::State(changed));
    }

    /// Notes commands that came to their end, after all that led to it.
    pub(super) fn tell_of_ended(&mut self, ended: &[Command]) {
        for command in ended {
            let change = VehicleChange::Command(Box::new(command.clone()));
            self.tell(&command.device_id, change);
        }
    }

    fn register(&mut self, device_id: &DeviceId, at: Timestamp) -> Result<Registered, StoreError> {
        let row = self.row(device_id);
        let (model, created) = match &row.model {
            Some(model) if model.deleted_at.is_none() => (model.clone(), false),
            _ => (row.living(device_id, at).clone(), true),
        };
        let vehicle = Vehicle::try_from(model)?;
        Ok(Registered { vehicle, created })
    }

    fn update_status(
        &mut self,
        device_id: &DeviceId,
        at: Timestamp,
        state: &VehicleState,
    ) -> Result<Vehicle, StoreError> {
        self.row(device_id).living(device_id, at);
        self.report(device_id, at, state);
        Vehicle::try_from(self.row(device_id).living(device_id, at).clone())
    }

    fn forgotten(&mut self, device_id: &DeviceId, through: Timestamp) {
        let row = self.row(device_id);
        if let Some(model) = &mut row.model
            && model.forget_through == Some(through.as_millis())
        {
            model.forget_through = None;
            row.change = Change::All;
        }
    }

    /// A report of a vehicle that exists: its state, and a row of history.
    fn report(&mut self, device_id: &DeviceId, at: Timestamp, state: &VehicleState) {
        let row = self.row(device_id);
        let before = row.state();
        let received_at = row.report(at, state);
        self.tell_change(device_id, before);
        self.reports.push(NewReport {
            device_id: device_id.clone(),
            received_at,
            state: *state,
        });
    }

    fn row(&mut self, device_id: &DeviceId) -> &mut Row {
        self.rows
            .entry(device_id.clone())
            .or_insert(Row::read(None))
    }

    /// The row of `session`, if it still names it.
    fn held(&mut self, session: &SessionKey) -> Option<&mut Row> {
        let row = self.rows.get_mut(&session.device_id)?;
        let model = row.model.as_ref()?;
        let holds = model.deleted_at.is_none()
            && model.session_epoch == session.epoch
            && model.instance_id.as_deref() == Some(&*self.life_text);
        holds.then_some(row)
    }

    fn session_write(
        &mut self,
        session: &SessionKey,
        at: Timestamp,
        write: &SessionWrite,
    ) -> Written {
        let now = self.now;
        let Some(row) = self.held(session) else {
            return Written::Stale;
        };
        match write {
            SessionWrite::Report(state) => self.report(&session.device_id, at, state),
            SessionWrite::Answer { id, late, answer } => {
                self.answer(session, *id, *late, *answer, at);
            }
            SessionWrite::DebugBlob(content) => {
                let received_at = row.stamp(at, Change::Telemetry);
                let change = VehicleChange::DebugBlob {
                    id: 0,
                    content: content.clone(),
                };
                let event = self.tell(&session.device_id, change);
                self.blobs.push(NewBlob {
                    device_id: session.device_id.clone(),
                    received_at,
                    content: content.clone(),
                    event,
                });
            }
            SessionWrite::KeepMePosted(interval) => {
                row.acknowledge(*interval, at);
            }
            SessionWrite::End {
                reason,
                last_heartbeat,
                grace,
            } => {
                if let Some(beat) = last_heartbeat {
                    row.heartbeat(*beat);
                }
                let due = grace.map(|grace| now.after(grace));
                self.end(&session.device_id, at, *reason, due);
                self.commands.end_session(&session.device_id, at, *reason);
            }
        }
        Written::Stored
    }

    /// Tells nothing of what this batch was about to tell of the vehicle. If that was that it came or went, returns whether
    /// it was online before, as far as anybody was told.
    fn forget_events(&mut self, device_id: &DeviceId) -> Option<bool> {
        let mut was_online = None;
        for event in &mut self.events {
            let forgotten = event.take_if(|event| event.vehicle.device_id == *device_id);
            match forgotten.map(|event| event.change) {
                Some(VehicleChange::Online) => was_online = was_online.or(Some(false)),
                Some(VehicleChange::Offline(_)) => was_online = was_online.or(Some(true)),
                _ => {}
            }
        }
        was_online
    }

    /// Leaves a tombstone: the epoch, so that it never goes back, and up to when to forget.
    fn delete(&mut self, device_id: &DeviceId, at: Timestamp) -> Option<i64> {
        let row = self.row(device_id);
        let model = row
            .model
            .as_mut()
            .filter(|model| model.deleted_at.is_none())?;
        let at = model.stamp(at);
        let epoch = model.session_epoch;
        let owner = model.instance_id.take();
        let last = model.clone();
        *model = vehicle::Model {
            session_epoch: epoch,
            created_at: model.created_at,
            deleted_at: Some(at),
            forget_through: Some(at),
            ..vehicle::Model::new(device_id, at)
        };
        row.change = Change::All;
        // What this batch was about to add to the vehicle's history is forgotten with the rest.
        self.reports.retain(|report| report.device_id != *device_id);
        self.blobs.retain(|blob| blob.device_id != *device_id);
        let was_online = self.forget_events(device_id).unwrap_or(last.online);
        self.deleted.push(device_id.clone());
        let reason = DisconnectReason::Deleted;
        if was_online && self.wanted.contains(EventKind::Offline) {
            let last = vehicle::Model {
                online: false,
                offline_due: None,
                disconnected_at: Some(at),
                disconnect_reason: Some(reason.as_str().to_owned()),
                ..last
            };
            self.tell_of(last, VehicleChange::Offline(reason));
        }
        let at = Timestamp::from_millis(at);
        self.evict(owner.as_deref(), device_id, epoch, reason);
        self.commands.end_session(device_id, at, reason);
        self.commands.cancel(device_id, at, |_| true);
        Some(epoch)
    }
}

impl vehicle::Model {
    /// The time to put on a change: `at`, but never before the last one.
    fn stamp(&mut self, at: Timestamp) -> i64 {
        self.updated_at = self.updated_at.max(at.as_millis());
        self.updated_at
    }
}

impl Row {
    /// A row as the database has it.
    pub(super) fn read(model: Option<vehicle::Model>) -> Self {
        Self {
            is_new: model.is_none(),
            model,
            change: Change::None,
        }
    }

    fn stamp(&mut self, at: Timestamp, change: Change) -> i64 {
        self.change = self.change.max(change);
        self.model
            .as_mut()
            .map_or(at.as_millis(), |model| model.stamp(at))
    }

    /// The row of a vehicle that exists from now on, made anew from nothing or from a tombstone.
    fn living(&mut self, device_id: &DeviceId, at: Timestamp) -> &mut vehicle::Model {
        self.change = Change::All;
        let model = self
            .model
            .get_or_insert_with(|| vehicle::Model::new(device_id, at.as_millis()));
        if let Some(deleted_at) = model.deleted_at {
            // Strictly later than what is to be forgotten, so that one comparison tells them apart.
            let reborn_at = at.as_millis().max(deleted_at + 1).max(model.updated_at + 1);
            *model = vehicle::Model {
                session_epoch: model.session_epoch,
                forget_through: model.forget_through,
                ..vehicle::Model::new(device_id, reborn_at)
            };
        }
        model
    }

    fn report(&mut self, at: Timestamp, state: &VehicleState) -> i64 {
        let at = self.stamp(at, Change::Telemetry);
        if let Some(model) = &mut self.model {
            model.latitude = Some(state.latitude.to_f64());
            model.longitude = Some(state.longitude.to_f64());
            model.battery = Some(i16::from(state.battery.percent()));
            model.running = Some(state.running.is_running());
            model.reported_at = Some(at);
        }
        at
    }

    // Leaves `updated_at` alone: heartbeats are flushed late and say nothing new of the vehicle.
    fn heartbeat(&mut self, at: Timestamp) {
        self.change = self.change.max(Change::Telemetry);
        if let Some(model) = &mut self.model {
            model.last_heartbeat = model.last_heartbeat.max(Some(at.as_millis()));
        }
    }

    /// The session is over; with a time by which it is due to be back, the vehicle stays online until then.
    fn end(&mut self, at: Timestamp, reason: DisconnectReason, due: Option<Timestamp>) {
        let at = self.stamp(at, Change::All);
        if let Some(model) = &mut self.model {
            model.online = due.is_some();
            model.offline_due = due.map(Timestamp::as_millis);
            model.instance_id = None;
            model.disconnected_at = Some(at);
            model.disconnect_reason = Some(reason.as_str().to_owned());
        }
    }

    /// Sets the vehicle offline if it has not come back in its time; returns why its session had ended.
    fn end_grace(&mut self, at: Timestamp) -> Option<DisconnectReason> {
        let over = |model: &vehicle::Model| {
            let due = model.offline_due.is_some_and(|due| due <= at.as_millis());
            due && model.online && model.instance_id.is_none()
        };
        if !self.model.as_ref().is_some_and(over) {
            return None;
        }
        self.stamp(at, Change::All);
        let model = self.model.as_mut()?;
        model.online = false;
        model.offline_due = None;
        let reason = model.disconnect_reason.as_deref();
        let reason = reason.and_then(|reason| reason.parse().ok());
        Some(reason.unwrap_or(DisconnectReason::InstanceLost))
    }

    /// What reports and answers change.
    pub(super) fn state(&self) -> State {
        self.model
            .as_ref()
            .map_or_else(State::default, |model| State {
                position: (model.latitude, model.longitude),
                battery: model.battery,
                running: model.running,
            })
    }
}

/// What reports and answers change.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct State {
    position: (Option<f64>, Option<f64>),
    battery: Option<i16>,
    running: Option<bool>,
}

impl State {
    fn changed_since(&self, before: &Self) -> EventKinds {
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
mod tests;
