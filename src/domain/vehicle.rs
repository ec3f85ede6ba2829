//! What is known of a vehicle.

use std::net::SocketAddr;

use super::{
    Battery, DeviceId, DisconnectReason, Latitude, Longitude, ReportInterval, Running, Timestamp,
    VehicleState,
};

/// A session, named so that a stale one cannot be taken for a newer one.
///
/// Every login of a vehicle gets the next epoch, so `(device_id, epoch)` never names two sessions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SessionKey {
    /// Whose session it is.
    pub device_id: DeviceId,
    /// 1 for the vehicle's first login ever, then up by 1.
    pub epoch: i64,
}

/// A vehicle as the store knows it. What was never learned is `None`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vehicle {
    /// Its name.
    pub device_id: DeviceId,
    /// Whether it has a session now.
    pub online: bool,
    /// Degrees north, as last reported.
    pub latitude: Option<Latitude>,
    /// Degrees east, as last reported.
    pub longitude: Option<Longitude>,
    /// State of charge, as last reported.
    pub battery: Option<Battery>,
    /// On or off, as last reported.
    pub running: Option<Running>,
    /// When the last report came.
    pub reported_at: Option<Timestamp>,
    /// When the last `PING.` came; up to one flush interval old in the database.
    pub last_heartbeat: Option<Timestamp>,
    /// The report interval that an operator wants.
    pub update_frequency: Option<ReportInterval>,
    /// The report interval that the vehicle said it keeps.
    pub acknowledged_update_frequency: Option<ReportInterval>,
    /// When the newest session began.
    pub connected_at: Option<Timestamp>,
    /// When the newest ended session ended.
    pub disconnected_at: Option<Timestamp>,
    /// Why it ended.
    pub disconnect_reason: Option<DisconnectReason>,
    /// Where the newest session came from.
    pub remote_address: Option<SocketAddr>,
    /// The instance that holds the session, while there is one.
    pub instance_id: Option<String>,
    /// When the vehicle was first heard of.
    pub created_at: Timestamp,
    /// When the last event was stored, heartbeats aside.
    pub updated_at: Timestamp,
}

/// One stored report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Ascending in the order in which reports were stored.
    pub id: i64,
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// What it told.
    pub state: VehicleState,
}

/// One stored debug blob, without its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DebugBlobInfo {
    /// Ascending in the order in which blobs were stored.
    pub id: i64,
    /// Which vehicle sent it.
    pub device_id: DeviceId,
    /// When the gateway received it.
    pub received_at: Timestamp,
    /// Its length in bytes.
    pub size: u64,
}
