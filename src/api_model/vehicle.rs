//! A vehicle in JSON.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    example::{EXAMPLE_DEVICE_ID, Example},
    named_enum::Named,
    schema::{Rfc3339, device_id_field, every_key_present},
};
use crate::domain::{
    Battery, DisconnectReason, Latitude, Longitude, ReportInterval, Running, Vehicle,
};

/// A vehicle. Values that are not known are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Vehicle", transform = every_key_present)]
pub(crate) struct VehicleDto {
    /// The vehicle's id.
    #[schemars(schema_with = "device_id_field")]
    pub(crate) device_id: String,
    /// Whether the vehicle is logged in, or still has time (`presence.offline_grace`) to log in again after its gateway
    /// instance stopped.
    pub(crate) online: bool,
    /// The last reported latitude, in degrees north of the equator.
    #[schemars(range(min = -90, max = 90))]
    pub(crate) latitude: Option<f64>,
    /// The last reported longitude, in degrees east of Greenwich.
    #[schemars(range(min = -180, max = 180))]
    pub(crate) longitude: Option<f64>,
    /// The last reported state of charge, in percent.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) battery: Option<u8>,
    /// Whether the vehicle was turned on when it last reported.
    pub(crate) running: Option<bool>,
    /// The time of the last report.
    pub(crate) reported_at: Option<Rfc3339>,
    /// The time of the last heartbeat.
    pub(crate) last_heartbeat: Option<Rfc3339>,
    /// The report interval that was requested last, in seconds: 10 to 3600, or 0 for no reports.
    #[schemars(range(min = 0, max = 3600))]
    update_frequency: Option<u16>,
    /// The report interval that the vehicle has confirmed, in seconds: 10 to 3600, or 0 for no reports.
    #[schemars(range(min = 0, max = 3600))]
    acknowledged_update_frequency: Option<u16>,
    /// The start of the newest session.
    connected_at: Option<Rfc3339>,
    /// The end of the last session that has ended.
    disconnected_at: Option<Rfc3339>,
    /// Why the last session ended.
    disconnect_reason: Option<Named<DisconnectReason>>,
    /// The remote IP address and port of the newest session.
    remote_address: Option<String>,
    /// The id of the run of the gateway instance that holds the session: new at every start, and not `instance.id`; null
    /// without a session.
    instance_id: Option<String>,
    /// When the vehicle was registered or first logged in.
    created_at: Rfc3339,
    /// When something was last stored about the vehicle: a report, a debug blob, a new command, the start or end of a
    /// session and the like. Heartbeats do not count.
    updated_at: Rfc3339,
}

impl From<Vehicle> for VehicleDto {
    fn from(vehicle: Vehicle) -> Self {
        Self {
            device_id: vehicle.device_id.to_string(),
            online: vehicle.online,
            latitude: vehicle.latitude.map(Latitude::to_f64),
            longitude: vehicle.longitude.map(Longitude::to_f64),
            battery: vehicle.battery.map(Battery::percent),
            running: vehicle.running.map(Running::is_running),
            reported_at: vehicle.reported_at.map(Rfc3339),
            last_heartbeat: vehicle.last_heartbeat.map(Rfc3339),
            update_frequency: vehicle.update_frequency.map(ReportInterval::seconds),
            acknowledged_update_frequency: vehicle
                .acknowledged_update_frequency
                .map(ReportInterval::seconds),
            connected_at: vehicle.connected_at.map(Rfc3339),
            disconnected_at: vehicle.disconnected_at.map(Rfc3339),
            disconnect_reason: vehicle.disconnect_reason.map(Named),
            remote_address: vehicle.remote_address.map(|address| address.to_string()),
            instance_id: vehicle.instance_id.map(|id| id.to_string()),
            created_at: Rfc3339(vehicle.created_at),
            updated_at: Rfc3339(vehicle.updated_at),
        }
    }
}

impl Example for VehicleDto {
    fn example() -> Value {
        json!({
            "deviceId": EXAMPLE_DEVICE_ID,
            "online": true,
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
            "reportedAt": "2026-11-23T02:54:59.050Z",
            "lastHeartbeat": "2026-11-23T02:55:10.418Z",
            "updateFrequency": 60,
            "acknowledgedUpdateFrequency": 60,
            "connectedAt": "2026-11-23T01:12:40.007Z",
            "disconnectedAt": "2026-11-23T01:12:31.660Z",
            "disconnectReason": "connection-lost",
            "remoteAddress": "192.0.2.17:51514",
            "instanceId": "0e3c8b1e-5e06-4b0c-9d0f-3c1f8d4b7a52",
            "createdAt": "2026-10-02T08:00:00.000Z",
            "updatedAt": "2026-11-23T02:55:10.418Z",
        })
    }
}
