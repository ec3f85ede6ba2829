//! A webhook in JSON.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::{
    api_model::{Example, Named, Rfc3339, device_id_schema, every_key_present},
    domain::{DeviceId, DisabledReason, EventKind},
    webhooks::{Endpoint, EndpointState},
};

/// The id of a webhook in examples.
pub(super) const EXAMPLE_WEBHOOK_ID: Uuid =
    Uuid::from_u128(0x019a_b0c4_11de_7a40_8f6e_2b7d_94c1_05ee);

/// A webhook. Values that are not known are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Webhook", transform = every_key_present)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "a JSON object, of which each is a key"
)]
pub(super) struct WebhookDto {
    /// The webhook's id.
    id: Uuid,
    /// The URL that messages are sent to.
    url: String,
    /// The kinds of events that are sent.
    events: Vec<Named<EventKind>>,
    /// The vehicles whose events are sent; null for all vehicles.
    #[schemars(schema_with = "device_ids")]
    device_ids: Option<Vec<String>>,
    /// Whether a message waits until the previous message of the same vehicle is delivered or failed.
    ordered: bool,
    /// Whether pending changes of a vehicle's state are merged into one message.
    coalesce: bool,
    /// Whether messages are created and sent.
    enabled: bool,
    /// Why the webhook is disabled: through the API (`operator`), because the receiver answered 410 (`gone`), or because
    /// it failed for too long (`failing`).
    disabled_reason: Option<Named<DisabledReason>>,
    /// When the webhook was disabled.
    disabled_at: Option<Rfc3339>,
    /// Whether the webhook is configured in the settings file and can only be changed there.
    configured: bool,
    /// The number of messages that are neither delivered nor failed.
    pending: u64,
    /// The number of messages that were dropped, the oldest first, because more than `webhooks.max_pending` were
    /// pending.
    expired: u64,
    /// When the oldest pending message was created.
    oldest_pending_at: Option<Rfc3339>,
    /// The number of failed attempts since the last success.
    failures: u32,
    /// When the first of these attempts failed.
    failing_since: Option<Rfc3339>,
    /// The end of the pause after failed attempts. Until then nothing is sent.
    paused_until: Option<Rfc3339>,
    /// Since when the webhook, which fails, gets no message for each change of a vehicle's state. Once it works again, it
    /// gets one for each vehicle that has changed.
    behind_since: Option<Rfc3339>,
    /// The error of the last failed attempt.
    last_error: Option<String>,
    /// Until when messages are also signed with the previous secret.
    previous_secret_until: Option<Rfc3339>,
    /// When the webhook was created.
    created_at: Rfc3339,
    /// When the webhook was last changed.
    updated_at: Rfc3339,
}

fn device_ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["array", "null"], "items": device_id_schema() })
}

impl From<EndpointState> for WebhookDto {
    fn from(state: EndpointState) -> Self {
        let endpoint = state.endpoint;
        let events = endpoint.events.iter().map(Named);
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
            disabled_reason: endpoint.disabled.map(|(_, reason)| Named(reason)),
            disabled_at: endpoint.disabled.map(|(at, _)| Rfc3339(at)),
            configured: endpoint.configured,
            pending: state.pending,
            expired: endpoint.expired,
            oldest_pending_at: state.oldest_pending.map(Rfc3339),
            failures: endpoint.breaker.failures,
            failing_since: endpoint.breaker.failing_since.map(Rfc3339),
            paused_until: endpoint.breaker.paused_until.map(Rfc3339),
            behind_since: endpoint.backlog.behind_since.map(Rfc3339),
            last_error: endpoint.last_error,
            previous_secret_until: endpoint.previous_secret.map(|(_, until)| Rfc3339(until)),
            created_at: Rfc3339(endpoint.created_at),
            updated_at: Rfc3339(endpoint.updated_at),
        }
    }
}

impl Example for WebhookDto {
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
            "expired": 0,
            "oldestPendingAt": "2026-11-23T02:54:59.050Z",
            "failures": 1,
            "failingSince": "2026-11-23T02:54:59.201Z",
            "pausedUntil": "2026-11-23T02:55:04.201Z",
            "behindSince": null,
            "lastError": "the receiver answered 503",
            "previousSecretUntil": null,
            "createdAt": "2026-11-22T08:00:00.000Z",
            "updatedAt": "2026-11-22T08:00:00.000Z",
        })
    }
}

/// A new webhook with its secret, which is shown only once.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeWebhook {
    #[serde(flatten)]
    webhook: WebhookDto,
    /// The secret that the receiver verifies messages with. It is not shown again.
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

/// A secret in examples.
const EXAMPLE_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

impl Example for MadeWebhook {
    fn example() -> Value {
        let mut example = WebhookDto::example();
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

/// The new secret of a webhook, which is shown only once.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(transform = every_key_present)]
pub(super) struct RotatedSecret {
    /// The new secret that the receiver verifies messages with. It is not shown again.
    secret: String,
    /// Until when messages are also signed with the previous secret.
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
