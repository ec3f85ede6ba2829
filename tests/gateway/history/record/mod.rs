//! The record of a run: everything that devices, HTTP clients, the webhook receiver and the database saw of it.
//!
//! These are plain values. The workload and the observer produce them, the checker only reads them.

mod database;
mod device;
mod fault;
mod http;

use std::{
    collections::BTreeMap,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

pub(crate) use database::{
    AuditEntry, BatchId, Change, CommandRow, MessageRow, SessionRow, StoredRow, VehicleRow,
};
pub(crate) use device::{ConnectionNumber, DeviceEvent, Observation};
pub(crate) use fault::{Fault, FaultWindow};
pub(crate) use http::{
    CommandRequest, HttpResult, PresenceReading, VehicleAction, VehicleRequest, WebhookDelivery,
};

/// A time, in milliseconds since the run began.
pub(crate) type Moment = i64;

/// A number that the values of a report, of a `FINE.` reply or of a debug blob encode. A vehicle uses each number once.
pub(crate) type Marker = i64;

/// What is stored for a vehicle under a marker of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StoredKind {
    Report,
    Blob,
}

/// The clock that the whole run shares: times of the database are converted to it.
#[derive(Clone, Copy)]
pub(crate) struct RunClock {
    began: Instant,
    /// The same moment as `began`, in milliseconds since 1970.
    began_unix: i64,
}

impl RunClock {
    pub(crate) fn start() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            began: Instant::now(),
            began_unix: unix.as_millis().try_into().unwrap(),
        }
    }

    pub(crate) fn now(self) -> Moment {
        self.began.elapsed().as_millis().try_into().unwrap()
    }

    /// Converts a time in milliseconds since 1970.
    pub(crate) fn moment(self, unix: i64) -> Moment {
        unix - self.began_unix
    }
}

/// The complete record of one run.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    /// The observations of each vehicle's device, in order, by device id.
    pub(crate) observations: BTreeMap<String, Vec<Observation>>,
    pub(crate) command_requests: Vec<CommandRequest>,
    pub(crate) vehicle_requests: Vec<VehicleRequest>,
    pub(crate) presence_readings: Vec<PresenceReading>,
    /// The webhook messages that the receiver got, in order of arrival.
    pub(crate) deliveries: Vec<WebhookDelivery>,
    /// Every write to the database, in order of the audit table's sequence numbers.
    pub(crate) audit: Vec<AuditEntry>,
    /// The rows of `reports` and `debug_blobs` at the end.
    pub(crate) stored_rows: Vec<StoredRow>,
    pub(crate) command_rows: Vec<CommandRow>,
    pub(crate) message_rows: Vec<MessageRow>,
    pub(crate) vehicle_rows: Vec<VehicleRow>,
    pub(crate) faults: Vec<FaultWindow>,
    /// How many gateway instances the cluster has.
    pub(crate) instances: usize,
    /// Incarnations of instances that were killed, and the time of the first kill after their start.
    pub(crate) killed: Vec<(String, Moment)>,
    /// How many device connections the instances report at the end.
    pub(crate) connection_count: u64,
    /// The end of the run.
    pub(crate) end: Moment,
}
