//! A vehicle and its history, as stored.

use std::net::SocketAddr;

use super::{
    Battery, DeviceId, DisconnectReason, IncarnationId, Latitude, Longitude, ReportInterval,
    Running, Timestamp, VehicleState,
};

/// The key of a session.
///
/// Every login of a vehicle gets the next epoch, so no two sessions have the same key, and a stale session cannot be
/// taken for a newer one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// The vehicle.
    pub device_id: DeviceId,
    /// The number of the login: 1 for the vehicle's first, then increasing by 1.
    pub epoch: i64,
}

/// A vehicle as stored. Values that were never received are `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vehicle {
    /// Its id.
    pub device_id: DeviceId,
    /// Whether it has a session now, or had one whose grace is not over.
    pub online: bool,
    /// Degrees north of the equator, as last reported.
    pub latitude: Option<Latitude>,
    /// Degrees east of Greenwich, as last reported.
    pub longitude: Option<Longitude>,
    /// State of charge in percent, as last reported.
    pub battery: Option<Battery>,
    /// On or off, as last reported.
    pub running: Option<Running>,
    /// When the last report came.
    pub reported_at: Option<Timestamp>,
    /// When the last `PING.` came. The database has it with a delay of up to `store.heartbeat_flush`.
    pub last_heartbeat: Option<Timestamp>,
    /// The report interval that an operator wants.
    pub update_frequency: Option<ReportInterval>,
    /// The report interval that the vehicle has acknowledged.
    pub acknowledged_update_frequency: Option<ReportInterval>,
    /// When the newest session began.
    pub connected_at: Option<Timestamp>,
    /// When the newest ended session ended.
    pub disconnected_at: Option<Timestamp>,
    /// Why that session ended.
    pub disconnect_reason: Option<DisconnectReason>,
    /// The address from which the newest session was opened.
    pub remote_address: Option<SocketAddr>,
    /// The incarnation that holds the session, while there is one.
    pub instance_id: Option<IncarnationId>,
    /// When the vehicle was registered or first logged in.
    pub created_at: Timestamp,
    /// When something was last stored about the vehicle: a report, a debug blob, a new command, the start or end of a
    /// session and the like. Heartbeats do not count.
    pub updated_at: Timestamp,
}

/// One stored report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Its id, ascending in the order of storing.
    pub id: i64,
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// The reported state.
    pub state: VehicleState,
}

/// One stored debug blob, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugBlobInfo {
    /// Its id, ascending in the order of storing.
    pub id: i64,
    /// The vehicle that sent it.
    pub device_id: DeviceId,
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// Its length in bytes.
    pub size: u64,
}
