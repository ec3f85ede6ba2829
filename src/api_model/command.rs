//! A command in JSON.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    example::{EXAMPLE_COMMAND_ID, EXAMPLE_DEVICE_ID, Example},
    named_enum::Named,
    schema::{Rfc3339, device_id_field, every_key_present},
};
use crate::domain::{Command, CommandOrigin, CommandState};

/// A command and its outcome so far. Steps that have not happened are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Command", transform = every_key_present)]
pub(crate) struct CommandDto {
    /// The command's id.
    #[serde(rename = "commandId")]
    id: Uuid,
    /// The id of the vehicle that the command is for.
    #[schemars(schema_with = "device_id_field")]
    device_id: String,
    /// The sentence that is sent to the vehicle.
    message: String,
    /// The source of the command: a request for this vehicle (`api`, or `channel` through the shared channel), a
    /// request for all vehicles (`broadcast`), or a login of a vehicle whose report interval is set (`login`).
    origin: Named<CommandOrigin>,
    /// The current status.
    status: Named<CommandState>,
    /// When the command was created.
    created_at: Rfc3339,
    /// When the command expires: it is not sent after this time.
    expires_at: Rfc3339,
    /// When the command was sent.
    sent_at: Option<Rfc3339>,
    /// When the command reached its final status.
    finished_at: Option<Rfc3339>,
    /// The vehicle's reply, if it came in time.
    reply: Option<String>,
    /// The vehicle's reply, if it came after the command had reached its final status.
    late_reply: Option<String>,
}

impl From<Command> for CommandDto {
    fn from(command: Command) -> Self {
        Self {
            id: command.id,
            device_id: command.device_id.to_string(),
            message: command.action.to_string(),
            origin: Named(command.origin),
            status: Named(command.state),
            created_at: Rfc3339(command.created_at),
            expires_at: Rfc3339(command.expires_at),
            sent_at: command.sent_at.map(Rfc3339),
            finished_at: command.finished_at.map(Rfc3339),
            reply: command.reply,
            late_reply: command.late_reply,
        }
    }
}

impl Example for CommandDto {
    fn example() -> Value {
        json!({
            "commandId": EXAMPLE_COMMAND_ID,
            "deviceId": EXAMPLE_DEVICE_ID,
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
