//! Commands and what becomes of them, as responses hold it.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    commands, domain,
    http::{describe::Example, wire::EXAMPLE_COMMAND_ID},
    resource::{Command, Rfc3339, device_id, every_key_present},
};

impl Example for Command {
    fn example() -> Value {
        json!({
            "commandId": EXAMPLE_COMMAND_ID,
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
            "message": "HEY YOU, RUN!",
            "origin": "api",
            "status": "done",
            "createdAt": "2026-11-23T02:54:59.050Z",
            "expiresAt": "2026-11-23T02:55:14.050Z",
            "sentAt": "2026-11-23T02:54:59.053Z",
            "finishedAt": "2026-11-23T02:54:59.381Z",
            "reply": "DONE!",
            "lateReply": null,
        })
    }
}

/// What became of a command that did not fail.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct CommandResult {
    /// Always true: whatever else may become of a command is a problem.
    #[schemars(extend("const" = true))]
    pub(super) success: bool,
    /// The command's id; null if no command was made.
    pub(super) command_id: Option<Uuid>,
    /// `done`: the vehicle did it. `queued`: it will be asked at its next login. `desired`: a frequency is kept for it.
    pub(super) status: ResultStatus,
    /// What the vehicle answered, if it did.
    pub(super) reply: Option<String>,
}

/// How a command ended or goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
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

/// Whether a vehicle answers, and its state: as it is now, or as last heard of. What was never learned is null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct VehicleInfo {
    /// The vehicle's name.
    #[schemars(schema_with = "device_id")]
    device_id: String,
    /// `CONNECTED`: the vehicle answered just now. `DISCONNECTED`: it is offline.
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
    /// When the vehicle last told its state.
    reported_at: Option<Rfc3339>,
    /// When the vehicle last sent a heartbeat.
    last_heartbeat: Option<Rfc3339>,
}

/// Whether a vehicle could be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
#[schemars(inline)]
pub(super) enum Presence {
    Connected,
    Disconnected,
}

impl VehicleInfo {
    pub(super) fn new(status: Presence, vehicle: &domain::Vehicle) -> Self {
        Self {
            device_id: vehicle.device_id.to_string(),
            status,
            latitude: vehicle.latitude.map(domain::Latitude::to_f64),
            longitude: vehicle.longitude.map(domain::Longitude::to_f64),
            battery: vehicle.battery.map(domain::Battery::percent),
            running: vehicle.running.map(domain::Running::is_running),
            reported_at: vehicle.reported_at.map(Rfc3339),
            last_heartbeat: vehicle.last_heartbeat.map(Rfc3339),
        }
    }
}

impl Example for VehicleInfo {
    fn example() -> Value {
        json!({
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
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

/// How many vehicles were addressed, and what became of it. The other numbers of vehicles add up to `addressed`.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct BroadcastResult {
    /// Vehicles that were connected.
    addressed: u64,
    /// Vehicles that answered yes.
    done: u64,
    /// Vehicles that answered no.
    refused: u64,
    /// Vehicles that did not answer in time.
    silent: u64,
    /// Vehicles whose connection ended before an answer.
    disconnected: u64,
    /// Vehicles that it was not sent to: busy with other commands, or gone.
    unsent: u64,
    /// Instances whose vehicles are not counted, because they did not answer.
    unreachable_instances: u64,
}

impl From<commands::Broadcast> for BroadcastResult {
    fn from(broadcast: commands::Broadcast) -> Self {
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
