//! The results of commands in JSON.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api_model::{
        EXAMPLE_COMMAND_ID, EXAMPLE_DEVICE_ID, Example, Rfc3339, device_id_field, every_key_present,
    },
    commands::Broadcast,
    domain::{Battery, Latitude, Longitude, Running, Vehicle},
};

/// The result of a command that did not fail.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct CommandResult {
    /// Always true: a command that fails is answered with a problem.
    #[schemars(extend("const" = true))]
    pub(super) success: bool,
    /// The command's id; null if no command was created.
    pub(super) command_id: Option<Uuid>,
    /// `done`: the vehicle carried out the command. `queued`: the command will be sent at the next login. `desired`: the
    /// report interval is stored and will be sent at the next login.
    pub(super) status: ResultStatus,
    /// The vehicle's reply, if there was one.
    pub(super) reply: Option<String>,
}

/// The status of a command that did not fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(rename = "CommandResultStatus")]
pub(super) enum ResultStatus {
    Done,
    Queued,
    Desired,
}

impl Example for CommandResult {
    fn example() -> Value {
        json!({ "success": true, "commandId": EXAMPLE_COMMAND_ID, "status": "done", "reply": "DONE!" })
    }
}

/// Whether the vehicle is connected, and its current or last known state. Values that are not known are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct VehicleInfo {
    /// The vehicle's id.
    #[schemars(schema_with = "device_id_field")]
    device_id: String,
    /// `CONNECTED`: the vehicle replied with its current state. `DISCONNECTED`: the vehicle is offline.
    status: Presence,
    /// Degrees north of the equator.
    #[schemars(range(min = -90, max = 90))]
    latitude: Option<f64>,
    /// Degrees east of Greenwich.
    #[schemars(range(min = -180, max = 180))]
    longitude: Option<f64>,
    /// State of charge in percent.
    #[schemars(range(min = 0, max = 100))]
    battery: Option<u8>,
    /// Whether the vehicle is turned on.
    running: Option<bool>,
    /// When the vehicle last reported its state.
    reported_at: Option<Rfc3339>,
    /// The time of the last heartbeat.
    last_heartbeat: Option<Rfc3339>,
}

/// Whether a vehicle is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub(super) enum Presence {
    Connected,
    Disconnected,
}

impl VehicleInfo {
    pub(super) fn new(status: Presence, vehicle: &Vehicle) -> Self {
        Self {
            device_id: vehicle.device_id.to_string(),
            status,
            latitude: vehicle.latitude.map(Latitude::to_f64),
            longitude: vehicle.longitude.map(Longitude::to_f64),
            battery: vehicle.battery.map(Battery::percent),
            running: vehicle.running.map(Running::is_running),
            reported_at: vehicle.reported_at.map(Rfc3339),
            last_heartbeat: vehicle.last_heartbeat.map(Rfc3339),
        }
    }
}

impl Example for VehicleInfo {
    fn example() -> Value {
        json!({
            "deviceId": EXAMPLE_DEVICE_ID,
            "status": "CONNECTED",
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
            "reportedAt": "2026-11-23T02:54:59.050Z",
            "lastHeartbeat": "2026-11-23T02:54:41.418Z",
        })
    }
}

/// The outcome of a broadcast. The numbers from `done` to `unsent` add up to `addressed`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BroadcastResult {
    /// Connected vehicles.
    addressed: u64,
    /// Vehicles that carried out the command.
    done: u64,
    /// Vehicles that refused the command.
    refused: u64,
    /// Vehicles that did not reply in time.
    silent: u64,
    /// Vehicles whose connection ended before a reply.
    disconnected: u64,
    /// Vehicles that the command was not sent to, because other commands were outstanding or the connection ended.
    unsent: u64,
    /// Gateway instances that did not answer. Their vehicles are not counted.
    unreachable_instances: u64,
}

impl From<Broadcast> for BroadcastResult {
    fn from(broadcast: Broadcast) -> Self {
        Self {
            addressed: broadcast.addressed,
            done: broadcast.done,
            refused: broadcast.refused,
            silent: broadcast.silent,
            disconnected: broadcast.disconnected,
            unsent: broadcast.unsent,
            unreachable_instances: broadcast.unreachable_instances,
        }
    }
}

impl Example for BroadcastResult {
    fn example() -> Value {
        json!({
            "addressed": 120,
            "done": 112,
            "refused": 1,
            "silent": 4,
            "disconnected": 2,
            "unsent": 1,
            "unreachableInstances": 0,
        })
    }
}
