//! What responses hold beside vehicles and commands, and how domain types become it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    describe::Example,
    kind::Kind,
    problem::{InvalidInput, Problem},
};
use crate::{
    domain,
    resource::{Rfc3339, Vehicle, device_id, every_key_present},
};

/// The id of a command, for examples.
pub(super) const EXAMPLE_COMMAND_ID: Uuid =
    Uuid::from_u128(0x01a2_0654_03ea_7c3e_9b1a_5d0e_8f2a_4c61);

/// The `deviceId` of a body.
pub(super) fn checked_device_id(text: &str) -> Result<domain::DeviceId, Problem> {
    domain::DeviceId::parse(text).map_err(|error| {
        let error = InvalidInput::body("/deviceId", error.to_string());
        Problem::invalid(Kind::InvalidBody, vec![error])
    })
}

impl Example for Vehicle {
    fn example() -> Value {
        json!({
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
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

/// The state of a vehicle, in short. What was never learned is null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct VehicleStatus {
    /// The vehicle's name.
    #[schemars(schema_with = "device_id")]
    device_id: String,
    /// Whether the vehicle is connected and logged in now.
    online: bool,
    /// Degrees north of the equator, as last reported.
    #[schemars(range(min = -90, max = 90))]
    latitude: Option<f64>,
    /// Degrees east of Greenwich, as last reported.
    #[schemars(range(min = -180, max = 180))]
    longitude: Option<f64>,
    /// State of charge in percent, as last reported.
    #[schemars(range(min = 0, max = 100))]
    battery: Option<u8>,
    /// Whether the vehicle is turned on, as last reported.
    running: Option<bool>,
    /// When the last report came.
    reported_at: Option<Rfc3339>,
    /// When the vehicle last sent a heartbeat.
    last_heartbeat: Option<Rfc3339>,
}

impl From<domain::Vehicle> for VehicleStatus {
    fn from(vehicle: domain::Vehicle) -> Self {
        let Vehicle {
            device_id,
            online,
            latitude,
            longitude,
            battery,
            running,
            reported_at,
            last_heartbeat,
            ..
        } = vehicle.into();
        Self {
            device_id,
            online,
            latitude,
            longitude,
            battery,
            running,
            reported_at,
            last_heartbeat,
        }
    }
}

impl Example for VehicleStatus {
    fn example() -> Value {
        json!({
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
            "online": true,
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
            "reportedAt": "2026-11-23T02:54:59.050Z",
            "lastHeartbeat": "2026-11-23T02:55:10.418Z",
        })
    }
}

/// One report of a vehicle.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Tells this report from every other; ascending in the order in which reports were stored.
    id: i64,
    /// Which vehicle it came from.
    #[schemars(schema_with = "device_id")]
    device_id: String,
    /// When the gateway received it.
    received_at: Rfc3339,
    /// Degrees north of the equator.
    #[schemars(range(min = -90, max = 90))]
    latitude: f64,
    /// Degrees east of Greenwich.
    #[schemars(range(min = -180, max = 180))]
    longitude: f64,
    /// State of charge in percent.
    #[schemars(range(min = 0, max = 100))]
    battery: u8,
    /// Whether the vehicle was turned on.
    running: bool,
}

impl Report {
    /// A report of the vehicle `device_id`.
    pub(super) fn of(device_id: &domain::DeviceId, report: &domain::Report) -> Self {
        Self {
            id: report.id,
            device_id: device_id.to_string(),
            received_at: Rfc3339(report.received_at),
            latitude: report.state.latitude.to_f64(),
            longitude: report.state.longitude.to_f64(),
            battery: report.state.battery.percent(),
            running: report.state.running.is_running(),
        }
    }
}

impl Example for Report {
    fn example() -> Value {
        json!({
            "id": 4711,
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
            "receivedAt": "2026-11-23T02:54:59.050Z",
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
        })
    }
}

/// A debug blob without its bytes.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DebugBlob {
    /// Names the blob among those of its vehicle.
    #[schemars(range(min = 1))]
    blob_id: i64,
    /// Which vehicle it came from.
    #[schemars(schema_with = "device_id")]
    device_id: String,
    /// When the gateway received it.
    received_at: Rfc3339,
    /// Its length in bytes.
    size: u64,
}

impl From<domain::DebugBlobInfo> for DebugBlob {
    fn from(blob: domain::DebugBlobInfo) -> Self {
        Self {
            blob_id: blob.id,
            device_id: blob.device_id.to_string(),
            received_at: Rfc3339(blob.received_at),
            size: blob.size,
        }
    }
}

impl Example for DebugBlob {
    fn example() -> Value {
        json!({
            "blobId": 7,
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
            "receivedAt": "2026-11-23T02:54:59.050Z",
            "size": 2048,
        })
    }
}
