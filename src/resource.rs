//! Vehicles and commands as JSON, the same over REST and in webhooks: in camelCase; every key is always present,
//! null where nothing is known.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::Value;
use strum::VariantNames;
use uuid::Uuid;

use crate::domain::{self, CommandOrigin, CommandState, DisconnectReason, Timestamp};

/// What a device id looks like. Two names are left out, for a path cannot hold them.
pub(crate) fn device_id_schema() -> Schema {
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
pub(crate) fn device_id(_: &mut SchemaGenerator) -> Schema {
    device_id_schema()
}

/// A timestamp on the wire: RFC 3339 in UTC, with milliseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rfc3339(pub(crate) Timestamp);

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
pub(crate) struct Reason(&'static str);

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
            "enum": DisconnectReason::VARIANTS,
        })
    }
}

/// Marks every property as always present: an `Option` is null then, not absent.
pub(crate) fn every_key_present(schema: &mut Schema) {
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
pub(crate) struct Vehicle {
    /// The vehicle's name.
    #[schemars(schema_with = "device_id")]
    pub(crate) device_id: String,
    /// Whether the vehicle is connected and logged in now.
    pub(crate) online: bool,
    /// Degrees north of the equator, as last reported.
    #[schemars(range(min = -90, max = 90))]
    pub(crate) latitude: Option<f64>,
    /// Degrees east of Greenwich, as last reported.
    #[schemars(range(min = -180, max = 180))]
    pub(crate) longitude: Option<f64>,
    /// State of charge in percent, as last reported.
    #[schemars(range(min = 0, max = 100))]
    pub(crate) battery: Option<u8>,
    /// Whether the vehicle is turned on, as last reported.
    pub(crate) running: Option<bool>,
    /// When the last report came.
    pub(crate) reported_at: Option<Rfc3339>,
    /// When the vehicle last sent a heartbeat.
    pub(crate) last_heartbeat: Option<Rfc3339>,
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

/// A command and what became of it so far. What has not happened is null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(crate) struct Command {
    /// Tells this command from every other.
    #[serde(rename = "commandId")]
    id: Uuid,
    /// Which vehicle it is for.
    #[schemars(schema_with = "device_id")]
    device_id: String,
    /// What the vehicle is asked.
    message: String,
    /// Who asked: somebody of this vehicle (`api`, or `channel` through the shared channel) or of all (`broadcast`),
    /// or the gateway at a login.
    #[schemars(schema_with = "origins")]
    origin: &'static str,
    /// How far it has come.
    #[schemars(schema_with = "states")]
    status: &'static str,
    /// When it was asked.
    created_at: Rfc3339,
    /// From when on it is not sent any more.
    expires_at: Rfc3339,
    /// When it was sent.
    sent_at: Option<Rfc3339>,
    /// When it came to its final status.
    finished_at: Option<Rfc3339>,
    /// What the vehicle answered in time.
    reply: Option<String>,
    /// What the vehicle answered after the end.
    late_reply: Option<String>,
}

fn origins(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": CommandOrigin::VARIANTS })
}

fn states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": CommandState::VARIANTS })
}

impl From<domain::Command> for Command {
    fn from(command: domain::Command) -> Self {
        Self {
            id: command.id,
            device_id: command.device_id.to_string(),
            message: command.action.to_string(),
            origin: command.origin.as_str(),
            status: command.state.as_str(),
            created_at: Rfc3339(command.created_at),
            expires_at: Rfc3339(command.expires_at),
            sent_at: command.sent_at.map(Rfc3339),
            finished_at: command.finished_at.map(Rfc3339),
            reply: command.reply,
            late_reply: command.late_reply,
        }
    }
}
