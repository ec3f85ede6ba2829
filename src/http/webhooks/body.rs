//! What callers say of webhooks.

use std::collections::BTreeSet;

use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::wire::EventName;
use crate::{
    domain::{DeviceId, EventKinds, InvalidDeviceId},
    http::{body::not_null, describe::Example},
    resource,
    webhooks::{EndpointRequest, EndpointUpdate, SecretText},
};

/// A device id in a list.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct DeviceName(DeviceId);

impl TryFrom<String> for DeviceName {
    type Error = InvalidDeviceId;

    fn try_from(text: String) -> Result<Self, InvalidDeviceId> {
        DeviceId::parse(&text).map(Self)
    }
}

/// A webhook to make. It holds a secret: nothing shows it as it is.
#[derive(Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// Where messages go. `https`, unless the settings allow `http`, and no address of a private network unless they
    /// allow that.
    #[garde(skip)]
    #[schemars(schema_with = "url")]
    url: String,
    /// What it is told of; everything if it is left out.
    #[garde(length(min = 1))]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "events")]
    events: Option<Vec<EventName>>,
    /// Which vehicles it is told of; null, or left out: all of them.
    #[garde(length(min = 1, max = 500))]
    #[serde(default)]
    #[schemars(schema_with = "device_ids")]
    device_ids: Option<Vec<DeviceName>>,
    /// By what messages are signed: `whsec_` and the base64 of 24 to 64 bytes. Left out, one is drawn.
    #[garde(skip)]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "secret")]
    secret: Option<String>,
    /// Whether a message waits until the one before it, of the same vehicle, is delivered or given up.
    #[garde(skip)]
    #[serde(default = "yes")]
    ordered: bool,
    /// Whether changes of a vehicle's state that were not sent yet become one message.
    #[garde(skip)]
    #[serde(default)]
    coalesce: bool,
}

/// What to change of a webhook. What is left out stays as it is.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct WebhookUpdate {
    /// Where messages go, also those that wait already.
    #[garde(skip)]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "url")]
    url: Option<String>,
    /// What it is told of from now on.
    #[garde(length(min = 1))]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "events")]
    events: Option<Vec<EventName>>,
    /// Which vehicles it is told of from now on; null: all of them.
    #[garde(length(min = 1, max = 500))]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(schema_with = "device_ids")]
    #[expect(
        clippy::option_option,
        reason = "left out, null and a list are three things"
    )]
    device_ids: Option<Option<Vec<DeviceName>>>,
    /// Whether a message waits until the one before it, of the same vehicle, is delivered or given up.
    #[garde(skip)]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "bool")]
    ordered: Option<bool>,
    /// Whether changes of a vehicle's state that were not sent yet become one message.
    #[garde(skip)]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "bool")]
    coalesce: Option<bool>,
    /// Whether it gets anything. While it does not, nothing is kept for it; what waited before waits on.
    #[garde(skip)]
    #[serde(
        default,
        deserialize_with = "not_null",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "bool")]
    enabled: Option<bool>,
}

fn yes() -> bool {
    true
}

fn url(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "uri",
        "maxLength": 2048,
        "examples": ["https://fleet.example.com/hooks"],
    })
}

fn secret(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "pattern": SECRET_PATTERN })
}

/// Exactly the texts that are secrets: as base64 writes them, with bits left over being zero.
const SECRET_PATTERN: &str = "^whsec_(?:(?:[A-Za-z0-9+/]{4}){8,20}(?:[A-Za-z0-9+/]{2}[AEIMQUYcgkosw048]=|[A-Za-z0-9+/][AQgw]==)?\
    |(?:[A-Za-z0-9+/]{4}){21}(?:[A-Za-z0-9+/][AQgw]==)?)$";

fn events(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": EventName::json_schema(generator), "minItems": 1 })
}

fn device_ids(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["array", "null"],
        "items": resource::device_id_schema(),
        "minItems": 1,
        "maxItems": 500,
    })
}

fn kinds(names: Vec<EventName>) -> EventKinds {
    names.into_iter().map(|EventName(kind)| kind).collect()
}

fn devices(names: Vec<DeviceName>) -> BTreeSet<DeviceId> {
    names.into_iter().map(|DeviceName(id)| id).collect()
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

impl From<WebhookUpdate> for EndpointUpdate {
    fn from(update: WebhookUpdate) -> Self {
        Self {
            url: update.url,
            events: update.events.map(kinds),
            devices: update.device_ids.map(|names| names.map(devices)),
            ordered: update.ordered,
            coalesce: update.coalesce,
            enabled: update.enabled,
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
    fn example() -> Value {
        json!({ "events": ["online", "offline"], "deviceIds": null, "enabled": true })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::webhooks::Secret;

    fn documented_secret() -> impl Strategy<Value = String> {
        // The generator knows no anchors.
        let pattern = SECRET_PATTERN.trim_start_matches('^').trim_end_matches('$');
        proptest::string::string_regex(pattern).unwrap()
    }

    proptest! {
        #[test]
        fn every_secret_that_the_document_allows_is_one(secret in documented_secret()) {
            prop_assert!(Secret::parse(&secret).is_ok(), "{}", secret);
        }
    }
}
