//! Webhooks and their messages, as responses hold them.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use strum::VariantNames;
use uuid::Uuid;

use crate::{
    domain::{DeviceId, EventKind},
    http::{describe::Example, kind::Kind, problem::Problem},
    resource::{Rfc3339, device_id_schema, every_key_present},
    webhooks::{Disabled, Endpoint, EndpointState, Message, MessageState},
};

/// The id of a webhook, for examples.
pub(super) const EXAMPLE_WEBHOOK_ID: Uuid =
    Uuid::from_u128(0x019a_b0c4_11de_7a40_8f6e_2b7d_94c1_05ee);
/// The id of a message, for examples.
pub(super) const EXAMPLE_MESSAGE_ID: Uuid =
    Uuid::from_u128(0x019a_b0c9_6a1f_7c02_a9d4_61f0_3e5b_88d7);

/// A kind of event by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct EventName(pub(super) EventKind);

impl TryFrom<String> for EventName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map(Self).map_err(|_| {
            let known = EventKind::VARIANTS.join(", ");
            format!("is no kind of event; there are {known}")
        })
    }
}

impl Serialize for EventName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.as_str())
    }
}

impl JsonSchema for EventName {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "EventKind".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": EventKind::VARIANTS })
    }
}

/// A webhook: an endpoint that is told what happens. What is not known, or did not happen, is null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "it is a JSON object, each is a key of its own"
)]
pub(super) struct Webhook {
    /// Tells this webhook from every other.
    id: Uuid,
    /// Where messages go.
    url: String,
    /// What it is told of.
    events: Vec<EventName>,
    /// Which vehicles it is told of; null: all of them.
    #[schemars(schema_with = "device_ids")]
    device_ids: Option<Vec<String>>,
    /// Whether a message waits until the one before it, of the same vehicle, is delivered or given up.
    ordered: bool,
    /// Whether changes of a vehicle's state that were not sent yet become one message.
    coalesce: bool,
    /// Whether it gets anything.
    enabled: bool,
    /// Why it gets nothing: somebody disabled it (`operator`), it answered 410 (`gone`), or it failed for too long
    /// (`failing`).
    #[schemars(schema_with = "disabled_reason")]
    disabled_reason: Option<&'static str>,
    /// Since when it gets nothing.
    disabled_at: Option<Rfc3339>,
    /// Whether it is one of the settings, and is changed there.
    configured: bool,
    /// Messages that are neither delivered nor given up.
    pending: u64,
    /// When the oldest of them was made.
    oldest_pending_at: Option<Rfc3339>,
    /// How often it failed since it last succeeded.
    failures: u32,
    /// Since when it fails.
    failing_since: Option<Rfc3339>,
    /// Until when it is given a rest, after failures.
    paused_until: Option<Rfc3339>,
    /// What went wrong last.
    last_error: Option<String>,
    /// Until when messages are signed with the secret before this one, too.
    previous_secret_until: Option<Rfc3339>,
    /// When it was made.
    created_at: Rfc3339,
    /// When it was changed last.
    updated_at: Rfc3339,
}

fn device_ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["array", "null"], "items": device_id_schema() })
}

fn disabled_reason(_: &mut SchemaGenerator) -> Schema {
    let reasons = Disabled::VARIANTS.iter().copied().map(Some);
    let reasons: Vec<_> = reasons.chain([None]).collect();
    json_schema!({ "type": ["string", "null"], "enum": reasons })
}

impl From<EndpointState> for Webhook {
    fn from(state: EndpointState) -> Self {
        let endpoint = state.endpoint;
        let events = endpoint.events.iter().map(EventName);
        let ids = |ids: &std::collections::BTreeSet<DeviceId>| {
            ids.iter().map(DeviceId::to_string).collect()
        };
        Self {
            id: endpoint.id,
            events: events.collect(),
            device_ids: endpoint.devices.as_ref().map(ids),
            url: endpoint.url,
            ordered: endpoint.ordered,
            coalesce: endpoint.coalesce,
            enabled: endpoint.disabled.is_none(),
            disabled_reason: endpoint.disabled.map(|(_, reason)| reason.as_str()),
            disabled_at: endpoint.disabled.map(|(at, _)| Rfc3339(at)),
            configured: endpoint.configured,
            pending: state.pending,
            oldest_pending_at: state.oldest_pending.map(Rfc3339),
            failures: endpoint.health.failures,
            failing_since: endpoint.health.failing_since.map(Rfc3339),
            paused_until: endpoint.health.paused_until.map(Rfc3339),
            last_error: endpoint.health.last_error,
            previous_secret_until: endpoint.previous_secret.map(|(_, until)| Rfc3339(until)),
            created_at: Rfc3339(endpoint.created_at),
            updated_at: Rfc3339(endpoint.updated_at),
        }
    }
}

impl Example for Webhook {
    fn example() -> Value {
        json!({
            "id": EXAMPLE_WEBHOOK_ID,
            "url": "https://fleet.example.com/hooks",
            "events": ["online", "offline", "command"],
            "deviceIds": ["truck-17"],
            "ordered": true,
            "coalesce": false,
            "enabled": true,
            "disabledReason": null,
            "disabledAt": null,
            "configured": false,
            "pending": 2,
            "oldestPendingAt": "2026-11-23T02:54:59.050Z",
            "failures": 1,
            "failingSince": "2026-11-23T02:54:59.201Z",
            "pausedUntil": "2026-11-23T02:55:04.201Z",
            "lastError": "the receiver answered 503",
            "previousSecretUntil": null,
            "createdAt": "2026-11-22T08:00:00.000Z",
            "updatedAt": "2026-11-22T08:00:00.000Z",
        })
    }
}

/// A webhook that was made just now, with its secret, which only its maker sees.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeWebhook {
    #[serde(flatten)]
    webhook: Webhook,
    /// By what the receiver checks messages. It is not shown again.
    secret: String,
}

impl From<Endpoint> for MadeWebhook {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            secret: endpoint.secret.0.clone(),
            webhook: EndpointState {
                endpoint,
                pending: 0,
                oldest_pending: None,
            }
            .into(),
        }
    }
}

const EXAMPLE_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

impl Example for MadeWebhook {
    fn example() -> Value {
        let mut example = Webhook::example();
        for (key, value) in [
            ("secret", json!(EXAMPLE_SECRET)),
            ("pending", json!(0)),
            ("oldestPendingAt", Value::Null),
            ("failures", json!(0)),
            ("failingSince", Value::Null),
            ("pausedUntil", Value::Null),
            ("lastError", Value::Null),
        ] {
            example[key] = value;
        }
        example
    }
}

/// The new secret of a webhook, which only its maker sees.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct RotatedSecret {
    /// By what the receiver checks messages from now on. It is not shown again.
    secret: String,
    /// Until when messages are signed with the old secret, too.
    previous_secret_until: Option<Rfc3339>,
}

impl From<Endpoint> for RotatedSecret {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            secret: endpoint.secret.0,
            previous_secret_until: endpoint.previous_secret.map(|(_, until)| Rfc3339(until)),
        }
    }
}

impl Example for RotatedSecret {
    fn example() -> Value {
        json!({ "secret": EXAMPLE_SECRET, "previousSecretUntil": "2026-11-24T02:54:59.050Z" })
    }
}

/// A message to a webhook, and what came of it so far. What has not happened is null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct WebhookMessage {
    /// Tells this message from every other; its receiver sees it as `webhook-id`.
    id: Uuid,
    /// Which vehicle it is about; null if it is a test.
    #[schemars(schema_with = "optional_device_id")]
    device_id: Option<String>,
    /// Its number among the messages of this vehicle to this webhook.
    #[schemars(range(min = 1))]
    sequence: i64,
    /// What it tells.
    #[schemars(extend("examples" = ["vehicle.online"]))]
    r#type: String,
    /// Whether it waits, was answered with success, or was given up.
    #[schemars(schema_with = "states")]
    status: &'static str,
    /// When what it tells happened.
    created_at: Rfc3339,
    /// When it is sent next, unless others have to go before it.
    next_attempt_at: Option<Rfc3339>,
    /// How often it was sent.
    attempts: u32,
    /// When it was sent last.
    last_attempt_at: Option<Rfc3339>,
    /// When it was delivered or given up.
    finished_at: Option<Rfc3339>,
    /// The status of the last answer.
    response_status: Option<u16>,
    /// How many milliseconds the last attempt took.
    duration_ms: Option<u64>,
    /// The first bytes of the last answer.
    response_body: Option<String>,
    /// What went wrong last.
    error: Option<String>,
}

fn optional_device_id(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "anyOf": [device_id_schema(), { "type": "null" }] })
}

fn states(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": MessageState::VARIANTS })
}

impl From<Message> for WebhookMessage {
    fn from(message: Message) -> Self {
        let waits = message.state == MessageState::Pending;
        let took = message.last.took;
        Self {
            id: message.id,
            device_id: message.device_id.map(|id| id.to_string()),
            sequence: message.sequence,
            r#type: message.kind,
            status: message.state.as_str(),
            created_at: Rfc3339(message.created_at),
            next_attempt_at: waits.then_some(Rfc3339(message.due)),
            attempts: message.attempts,
            last_attempt_at: message.attempted_at.map(Rfc3339),
            finished_at: message.finished_at.map(Rfc3339),
            response_status: message.last.status,
            duration_ms: took.map(|took| u64::try_from(took.as_millis()).unwrap_or(u64::MAX)),
            response_body: message.last.answer,
            error: message.last.error,
        }
    }
}

impl Example for WebhookMessage {
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

/// A message to a webhook with its body.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct MessageWithBody {
    #[serde(flatten)]
    message: WebhookMessage,
    /// What is sent.
    #[schemars(schema_with = "object")]
    body: Value,
}

fn object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "required": ["type", "timestamp", "data"] })
}

impl TryFrom<Message> for MessageWithBody {
    type Error = Problem;

    fn try_from(message: Message) -> Result<Self, Problem> {
        let body = serde_json::from_str(&message.body).map_err(|error| {
            tracing::error!(id = %message.id, %error, "a stored message of a webhook is not JSON");
            Problem::new(Kind::Internal)
        })?;
        Ok(Self {
            body,
            message: message.into(),
        })
    }
}

impl Example for MessageWithBody {
    fn example() -> Value {
        let mut example = WebhookMessage::example();
        example["body"] = json!({
            "type": "vehicle.online",
            "timestamp": "2026-11-23T02:54:59.050Z",
            "data": { "deviceId": "truck-17", "sequence": 3, "vehicle": { "deviceId": "truck-17" } },
        });
        example
    }
}

/// How many messages will be sent again.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Retried {
    /// So many.
    pub(super) retried: u64,
}

impl Example for Retried {
    fn example() -> Value {
        json!({ "retried": 12 })
    }
}
