//! The request bodies of webhooks.

use std::collections::BTreeSet;

use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};
use strum::VariantNames as _;

use crate::{
    api_model::{Example, Named, device_id_schema},
    domain::{DeviceId, EventKind, EventKinds, InvalidDeviceId},
    http::extract::{Patch, not_null},
    webhooks::{EndpointPatch, EndpointRequest, SecretText},
};

/// The largest number of vehicles that a webhook may name.
const MAX_DEVICE_IDS: usize = 500;
/// The longest URL, in characters.
const MAX_URL_LEN: usize = 2048;

/// A device id in the list of vehicles of a request body.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct DeviceIdText(DeviceId);

impl TryFrom<String> for DeviceIdText {
    type Error = InvalidDeviceId;

    fn try_from(text: String) -> Result<Self, InvalidDeviceId> {
        DeviceId::parse(&text).map(Self)
    }
}

/// The name of a kind of event in a request body.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct EventName(EventKind);

impl TryFrom<String> for EventName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map(Self).map_err(|_| {
            let known = EventKind::VARIANTS.join(", ");
            format!("is not a kind of event; the kinds are {known}")
        })
    }
}

/// A webhook to create. It does not implement `Debug` because it holds a secret.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// The URL that messages are sent to. It must be `https` unless the settings allow `http`, and must not lead to a
    /// private network unless the settings allow that.
    #[garde(skip)]
    #[schemars(schema_with = "url")]
    url: String,
    /// The kinds of events to send; all kinds if absent.
    #[garde(length(min = 1))]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "events")]
    events: Option<Vec<EventName>>,
    /// The vehicles whose events to send; all vehicles if null or absent.
    #[garde(length(min = 1, max = MAX_DEVICE_IDS))]
    #[serde(default)]
    #[schemars(schema_with = "device_ids")]
    device_ids: Option<Vec<DeviceIdText>>,
    /// The secret that signs messages: `whsec_` and the base64 of 24 to 64 bytes. One is generated if absent.
    #[garde(skip)]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "secret")]
    secret: Option<String>,
    /// Whether a message waits until the previous message of the same vehicle is delivered or failed.
    #[garde(skip)]
    #[serde(default = "ordered_by_default")]
    ordered: bool,
    /// Whether pending changes of a vehicle's state are merged into one message.
    #[garde(skip)]
    #[serde(default)]
    coalesce: bool,
}

/// A change of a webhook. Absent fields keep their values.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookUpdate {
    /// The URL that messages are sent to, also pending ones.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schemars(schema_with = "url")]
    url: Patch<String>,
    /// The kinds of events to send from now on.
    #[garde(length(min = 1))]
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schemars(schema_with = "events")]
    events: Patch<Vec<EventName>>,
    /// The vehicles whose events to send from now on; null for all vehicles.
    #[garde(length(min = 1, max = MAX_DEVICE_IDS))]
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    #[schemars(schema_with = "device_ids")]
    device_ids: Patch<Option<Vec<DeviceIdText>>>,
    /// Whether a message waits until the previous message of the same vehicle is delivered or failed.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    ordered: Patch<bool>,
    /// Whether pending changes of a vehicle's state are merged into one message.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    coalesce: Patch<bool>,
    /// Whether messages are created and sent. A disabled webhook gets no new messages; its pending messages stay pending.
    #[garde(skip)]
    #[serde(default, skip_serializing_if = "Patch::is_keep")]
    enabled: Patch<bool>,
}

fn ordered_by_default() -> bool {
    true
}

fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "uri",
        "maxLength": MAX_URL_LEN,
        "examples": ["https://fleet.example.com/hooks"],
    })
}

fn secret(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": SECRET_PATTERN })
}

/// Matches exactly the valid secrets: in base64 with unused bits of the last character zero.
const SECRET_PATTERN: &str = "^whsec_(?:(?:[A-Za-z0-9+/]{4}){8,20}(?:[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?\
    |(?:[A-Za-z0-9+/]{4}){21}(?:[A-Za-z0-9+/][AQgw]==)?)$";

fn events(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": generator.subschema_for::<Named<EventKind>>(), "minItems": 1 })
}

fn device_ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"],
        "items": device_id_schema(),
        "minItems": 1,
        "maxItems": MAX_DEVICE_IDS,
    })
}

fn kinds(names: Vec<EventName>) -> EventKinds {
    names.into_iter().map(|EventName(kind)| kind).collect()
}

fn devices(names: Vec<DeviceIdText>) -> BTreeSet<DeviceId> {
    names.into_iter().map(|DeviceIdText(id)| id).collect()
}

impl From<NewWebhook> for EndpointRequest {
    fn from(new: NewWebhook) -> Self {
        Self {
            url: new.url,
            events: new.events.map_or(EventKinds::all(), kinds),
            devices: new.device_ids.map(devices),
            secret: new.secret.map(SecretText),
            ordered: new.ordered,
            coalesce: new.coalesce,
        }
    }
}

impl From<WebhookUpdate> for EndpointPatch {
    fn from(update: WebhookUpdate) -> Self {
        Self {
            url: update.url.into_option(),
            events: update.events.into_option().map(kinds),
            devices: update.device_ids.into_option().map(|ids| ids.map(devices)),
            ordered: update.ordered.into_option(),
            coalesce: update.coalesce.into_option(),
            enabled: update.enabled.into_option(),
        }
    }
}

impl Example for NewWebhook {
    fn example() -> Value {
        json!({
            "url": "https://fleet.example.com/hooks",
            "events": ["online", "offline", "command"],
            "deviceIds": ["truck-17"],
        })
    }
}

impl Example for WebhookUpdate {
    /// Changes nothing: "Try it out" of `/docs` sends it as it is.
    fn example() -> Value {
        json!({})
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::webhooks::Secret;

    fn documented_secret() -> impl Strategy<Value = String> {
        // The generator of proptest does not support anchors.
        let pattern = SECRET_PATTERN.trim_start_matches('^').trim_end_matches('$');
        proptest::string::string_regex(pattern).unwrap()
    }

    proptest! {
        #[test]
        fn every_secret_that_the_pattern_matches_is_valid(secret in documented_secret()) {
            prop_assert!(Secret::parse(&secret).is_ok(), "{}", secret);
        }
    }
}
