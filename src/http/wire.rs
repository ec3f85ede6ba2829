//! What responses hold, and how domain types become it. JSON in camelCase; every key is always
//! present, null where nothing is known.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    describe::Example,
    kind::Kind,
    problem::{InvalidInput, Problem},
};
use crate::domain::{self, DisconnectReason, Timestamp};

/// The id of a command, for examples.
pub(super) const EXAMPLE_COMMAND_ID: Uuid =
    Uuid::from_u128(0x01a2_0654_03ea_7c3e_9b1a_5d0e_8f2a_4c61);

/// What a device id looks like. Two names are left out, for a path cannot hold them.
pub(super) fn device_id_schema() -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": domain::DeviceId::MAX_LEN,
        "pattern": "^[A-Za-z0-9._:-]+$",
        "not": { "enum": [".", ".."] },
        "examples": ["9180af05-0219-4c88-8a95-3da86b130d43", "truck-17"],
    })
}

/// [`device_id_schema`] for a field.
pub(super) fn device_id(_: &mut SchemaGenerator) -> Schema {
    device_id_schema()
}

/// The `deviceId` of a body.
pub(super) fn checked_device_id(text: &str) -> Result<domain::DeviceId, Problem> {
    domain::DeviceId::parse(text).map_err(|error| {
        let error = InvalidInput::body("/deviceId", error.to_string());
        Problem::invalid(Kind::InvalidBody, vec![error])
    })
}

/// A timestamp on the wire: RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rfc3339(pub(super) Timestamp);

impl Serialize for Rfc3339 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl JsonSchema for Rfc3339 {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "examples": ["2026-11-23T02:54:59.050Z"],
        })
    }
}

/// A reason by its name.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Reason(&'static str);

impl JsonSchema for Reason {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "DisconnectReason".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "enum": DisconnectReason::ALL.map(DisconnectReason::as_str),
        })
    }
}

/// Marks every property as always present: an `Option` is null then, not absent.
pub(super) fn every_key_present(schema: &mut Schema) {
    let keys: Vec<Value> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().map(Value::String).collect())
        .unwrap_or_default();
    schema.insert("required".to_owned(), Value::Array(keys));
}

/// A vehicle. What was never learned is null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct Vehicle {
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
    /// The report interval that an operator wants, in seconds: 10 to 3600, or 0 for none.
    #[schemars(range(min = 0, max = 3600))]
    update_frequency: Option<u16>,
    /// The report interval that the vehicle said it keeps, in seconds: 10 to 3600, or 0 for none.
    #[schemars(range(min = 0, max = 3600))]
    acknowledged_update_frequency: Option<u16>,
    /// When the newest session began.
    connected_at: Option<Rfc3339>,
    /// When the last session that is over ended.
    disconnected_at: Option<Rfc3339>,
    /// Why it ended.
    disconnect_reason: Option<Reason>,
    /// The IP address and port that the newest session came from.
    remote_address: Option<String>,
    /// The instance of the gateway that holds the session, while there is one.
    instance_id: Option<String>,
    /// When the gateway first heard of the vehicle.
    created_at: Rfc3339,
    /// When the vehicle last said or did something that is stored, heartbeats aside.
    updated_at: Rfc3339,
}

impl From<domain::Vehicle> for Vehicle {
    fn from(vehicle: domain::Vehicle) -> Self {
        Self {
            device_id: vehicle.device_id.to_string(),
            online: vehicle.online,
            latitude: vehicle.latitude.map(domain::Latitude::to_f64),
            longitude: vehicle.longitude.map(domain::Longitude::to_f64),
            battery: vehicle.battery.map(domain::Battery::percent),
            running: vehicle.running.map(domain::Running::is_running),
            reported_at: vehicle.reported_at.map(Rfc3339),
            last_heartbeat: vehicle.last_heartbeat.map(Rfc3339),
            update_frequency: vehicle
                .update_frequency
                .map(domain::ReportInterval::seconds),
            acknowledged_update_frequency: vehicle
                .acknowledged_update_frequency
                .map(domain::ReportInterval::seconds),
            connected_at: vehicle.connected_at.map(Rfc3339),
            disconnected_at: vehicle.disconnected_at.map(Rfc3339),
            disconnect_reason: vehicle
                .disconnect_reason
                .map(|reason| Reason(reason.as_str())),
            remote_address: vehicle.remote_address.map(|address| address.to_string()),
            instance_id: vehicle.instance_id,
            created_at: Rfc3339(vehicle.created_at),
            updated_at: Rfc3339(vehicle.updated_at),
        }
    }
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

impl From<domain::BlobInfo> for DebugBlob {
    fn from(blob: domain::BlobInfo) -> Self {
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
