//! A webhook message in JSON.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api_model::{Example, Named, Rfc3339, device_id_schema, every_key_present},
    domain::MessageState,
    http::problem::{Problem, ProblemKind},
    webhooks::StoredMessage,
};

/// The id of a message in examples.
pub(super) const EXAMPLE_MESSAGE_ID: Uuid =
    Uuid::from_u128(0x019a_b0c9_6a1f_7c02_a9d4_61f0_3e5b_88d7);

/// A message to a webhook. Steps that have not happened are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "WebhookMessage", transform = every_key_present)]
pub(super) struct WebhookMessageDto {
    /// The message's id, which the receiver gets as `webhook-id`.
    id: Uuid,
    /// The id of the vehicle; null for a test message.
    #[schemars(schema_with = "optional_device_id")]
    device_id: Option<String>,
    /// The number of the message in the sequence of this vehicle and this webhook.
    #[schemars(range(min = 1))]
    sequence: i64,
    /// The type of the message.
    #[schemars(extend("examples" = ["vehicle.online"]))]
    r#type: String,
    /// Whether the message is pending, was delivered, or failed after its last attempt.
    status: Named<MessageState>,
    /// When the event happened.
    created_at: Rfc3339,
    /// The time of the next attempt, unless earlier messages have to be sent first.
    next_attempt_at: Option<Rfc3339>,
    /// The number of attempts.
    attempts: u32,
    /// The time of the last attempt.
    last_attempt_at: Option<Rfc3339>,
    /// When the message was delivered or failed.
    finished_at: Option<Rfc3339>,
    /// The HTTP status of the last response.
    response_status: Option<u16>,
    /// The duration of the last attempt in milliseconds.
    duration_ms: Option<u64>,
    /// The first bytes of the last response's body.
    response_body: Option<String>,
    /// The error of the last attempt.
    error: Option<String>,
}

fn optional_device_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [device_id_schema(), { "type": "null" }] })
}

impl From<StoredMessage> for WebhookMessageDto {
    fn from(message: StoredMessage) -> Self {
        let pending = message.state == MessageState::Pending;
        let duration = message.last_attempt.duration;
        Self {
            id: message.id,
            device_id: message.device_id.map(|id| id.to_string()),
            sequence: message.sequence,
            r#type: message.message_type,
            status: Named(message.state),
            created_at: Rfc3339(message.created_at),
            next_attempt_at: pending.then_some(Rfc3339(message.due)),
            attempts: message.attempts,
            last_attempt_at: message.attempted_at.map(Rfc3339),
            finished_at: message.finished_at.map(Rfc3339),
            response_status: message.last_attempt.status,
            duration_ms: duration.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            response_body: message.last_attempt.response,
            error: message.last_attempt.error,
        }
    }
}

impl Example for WebhookMessageDto {
    fn example() -> Value {
        json!({
            "id": EXAMPLE_MESSAGE_ID,
            "deviceId": "truck-17",
            "sequence": 3,
            "type": "vehicle.online",
            "status": "pending",
            "createdAt": "2026-11-23T02:54:59.050Z",
            "nextAttemptAt": "2026-11-23T02:55:04.201Z",
            "attempts": 1,
            "lastAttemptAt": "2026-11-23T02:54:59.080Z",
            "finishedAt": null,
            "responseStatus": 503,
            "durationMs": 121,
            "responseBody": "overloaded",
            "error": "the receiver answered 503",
        })
    }
}

/// A webhook message with its body.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MessageWithBody {
    #[serde(flatten)]
    message: WebhookMessageDto,
    /// The body that is sent.
    #[schemars(schema_with = "object")]
    body: Value,
}

fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "required": ["type", "timestamp", "data"] })
}

impl TryFrom<StoredMessage> for MessageWithBody {
    type Error = Problem;

    fn try_from(message: StoredMessage) -> Result<Self, Problem> {
        let body = serde_json::from_str(&message.body).map_err(|error| {
            tracing::error!(message = %message.id, %error, "stored webhook message is not JSON");
            Problem::new(ProblemKind::Internal)
        })?;
        Ok(Self {
            body,
            message: message.into(),
        })
    }
}

impl Example for MessageWithBody {
    fn example() -> Value {
        let mut example = WebhookMessageDto::example();
        example["body"] = json!({
            "type": "vehicle.online",
            "timestamp": "2026-11-23T02:54:59.050Z",
            "data": { "deviceId": "truck-17", "sequence": 3, "vehicle": { "deviceId": "truck-17" } },
        });
        example
    }
}

/// The number of messages that are queued again.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Retried")]
pub(super) struct RetriedMessages {
    /// The number of messages.
    pub(super) retried: u64,
}

impl Example for RetriedMessages {
    fn example() -> Value {
        json!({ "retried": 12 })
    }
}
