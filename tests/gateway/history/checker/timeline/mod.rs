//! Hand-written histories of one vehicle, to test the checker: each invariant has timelines that keep it and timelines
//! that violate it. The vehicle's messages and deliveries follow from the rest, unless a test takes one away.

mod commands;
mod data;
mod http;
mod webhooks;

use super::{Invariant, Violation};
use crate::history::record::{
    AuditEntry, BatchId, Change, ConnectionNumber, DeviceEvent, Fault, FaultWindow, History,
    Marker, Moment, Observation, SessionRow, VehicleRow,
};

/// The device id of the vehicle.
pub(super) const DEVICE: &str = "truck-0";

/// A history under construction. Each event and each write takes ten milliseconds.
#[derive(Clone)]
pub(super) struct Timeline {
    pub(super) history: History,
    /// The session of the vehicle's row.
    pub(super) session: SessionRow,
    now: Moment,
    batch: i64,
    alive: Option<ConnectionNumber>,
    /// The last report in the vehicle's row.
    marker: Option<Marker>,
    acknowledged_interval: Option<i64>,
}

impl Timeline {
    /// Begins with two live instances, A and B, and no vehicle.
    pub(super) fn new() -> Self {
        let mut timeline = Self {
            history: History::default(),
            session: SessionRow::default(),
            now: 0,
            batch: 0,
            alive: None,
            marker: None,
            acknowledged_interval: None,
        };
        for id in ["A", "B"] {
            timeline.set_instance_state(id, "live");
        }
        timeline
    }

    pub(super) fn wait(&mut self, millis: Moment) -> &mut Self {
        self.now += millis;
        self
    }

    pub(super) fn observe(
        &mut self,
        connection: ConnectionNumber,
        event: DeviceEvent,
    ) -> &mut Self {
        self.now += 10;
        let observation = Observation {
            at: self.now,
            connection,
            event,
        };
        let observations = self.history.observations.entry(DEVICE.to_owned());
        observations.or_default().push(observation);
        self
    }

    /// Writes a change in a batch of its own.
    fn write(&mut self, incarnation: &str, change: Change) -> &mut Self {
        self.batch += 1;
        self.write_in_batch(incarnation, change)
    }

    /// Writes a change in the batch of the write before.
    fn write_in_batch(&mut self, incarnation: &str, change: Change) -> &mut Self {
        self.now += 10;
        self.write_at_once(incarnation, change)
    }

    /// Writes a change in the batch and at the time of the write before.
    fn write_at_once(&mut self, incarnation: &str, change: Change) -> &mut Self {
        self.history.audit.push(AuditEntry {
            at: self.now,
            committed_after: self.now,
            batch: BatchId {
                incarnation: incarnation.to_owned(),
                number: self.batch,
            },
            change,
        });
        self
    }

    /// Writes that an incarnation is `live` or `dead`.
    pub(super) fn set_instance_state(&mut self, id: &str, state: &str) -> &mut Self {
        self.write(
            "",
            Change::Instance {
                id: id.to_owned(),
                name: id.to_owned(),
                state: state.to_owned(),
            },
        )
    }

    /// A fault lasts for so many milliseconds.
    pub(super) fn fault(&mut self, fault: Fault, millis: Moment) -> &mut Self {
        let from = self.now;
        let until = from + millis;
        self.history.faults.push(FaultWindow { from, until, fault });
        self.wait(millis)
    }

    /// The device connects and sends its login.
    pub(super) fn send_hello(&mut self, connection: ConnectionNumber) -> &mut Self {
        let address = address(connection);
        self.observe(connection, DeviceEvent::Connected { address });
        self.observe(connection, DeviceEvent::SentHello)
    }

    /// Writes the session of the vehicle, and the message about its presence if that changes.
    pub(super) fn write_session(&mut self, incarnation: &str, session: SessionRow) -> &mut Self {
        let changes_presence = self.session.online != session.online;
        self.session = session.clone();
        let device_id = DEVICE.to_owned();
        self.write(incarnation, Change::Session { device_id, session });
        if changes_presence {
            let kind = ["vehicle.offline", "vehicle.online"][usize::from(self.session.online)];
            self.publish(incarnation, kind);
        }
        self
    }

    /// The device logs in at A.
    pub(super) fn log_in(&mut self, connection: ConnectionNumber, epoch: i64) -> &mut Self {
        self.log_in_at("A", connection, epoch)
    }

    pub(super) fn log_in_at(
        &mut self,
        incarnation: &str,
        connection: ConnectionNumber,
        epoch: i64,
    ) -> &mut Self {
        self.send_hello(connection);
        self.write_session(incarnation, held(incarnation, connection, epoch));
        self.receive_greeting(connection)
    }

    pub(super) fn receive_greeting(&mut self, connection: ConnectionNumber) -> &mut Self {
        self.alive = Some(connection);
        self.observe(connection, DeviceEvent::Greeted)
    }

    /// The device gives up a reply after so many milliseconds.
    pub(super) fn time_out(&mut self, connection: ConnectionNumber, waited: Moment) -> &mut Self {
        self.alive = None;
        self.observe(connection, DeviceEvent::TimedOut { waited })
    }

    pub(super) fn disconnect(&mut self, connection: ConnectionNumber) -> &mut Self {
        if self.alive == Some(connection) {
            self.alive = None;
        }
        self.observe(connection, DeviceEvent::ClosedByDevice)
    }

    /// Writes that the session is over and the vehicle offline.
    pub(super) fn go_offline(&mut self, incarnation: &str, reason: &str) -> &mut Self {
        let session = SessionRow {
            online: false,
            incarnation: None,
            offline_due: None,
            disconnect_reason: Some(reason.to_owned()),
            ..self.session.clone()
        };
        self.write_session(incarnation, session)
    }

    /// Writes that the session is over, and that the vehicle is due to be offline in so many milliseconds.
    pub(super) fn start_grace(&mut self, incarnation: &str, millis: Moment) -> &mut Self {
        let session = SessionRow {
            incarnation: None,
            offline_due: Some(self.now + 10 + millis),
            disconnect_reason: Some("instance-lost".to_owned()),
            ..self.session.clone()
        };
        self.write_session(incarnation, session)
    }

    /// B deletes the vehicle.
    pub(super) fn delete(&mut self) -> &mut Self {
        self.marker = None;
        self.acknowledged_interval = None;
        let session = SessionRow {
            epoch: self.session.epoch,
            deleted: true,
            forget_through: Some(self.now + 10),
            ..SessionRow::default()
        };
        self.write_session("B", session)
    }

    /// Makes another connection than the last one alive at the end.
    pub(super) fn set_alive(&mut self, connection: Option<ConnectionNumber>) -> &mut Self {
        self.alive = connection;
        self
    }

    /// Returns the history of a run that ends now.
    pub(super) fn finish(&self) -> History {
        let mut timeline = self.clone();
        if let Some(connection) = timeline.alive {
            timeline.observe(connection, DeviceEvent::AliveAtEnd);
            timeline.history.connection_count += 1;
        }
        let mut history = timeline.history;
        history.observations.entry(DEVICE.to_owned()).or_default();
        history.end = timeline.now;
        history.vehicle_rows.push(VehicleRow {
            device_id: DEVICE.to_owned(),
            session: timeline.session,
            marker: timeline.marker,
            acknowledged_interval: timeline.acknowledged_interval,
        });
        history
    }

    pub(super) fn violations(&self) -> Vec<Violation> {
        super::check(&self.finish())
    }
}

/// The address of the device on this connection.
pub(super) fn address(connection: ConnectionNumber) -> String {
    format!("10.0.0.{connection}:1024")
}

/// The row of a session that this incarnation holds.
pub(super) fn held(incarnation: &str, connection: ConnectionNumber, epoch: i64) -> SessionRow {
    SessionRow {
        online: true,
        epoch,
        incarnation: Some(incarnation.to_owned()),
        remote_addr: Some(address(connection)),
        ..SessionRow::default()
    }
}

/// What the checker finds about this invariant.
pub(super) fn findings(timeline: &Timeline, invariant: Invariant) -> Vec<String> {
    let violations = timeline.violations().into_iter();
    violations
        .filter(|violation| violation.invariant == invariant)
        .map(|violation| violation.what)
        .collect()
}
