//! A key in JSON.

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    access::{ApiKey, Caller, NewKey, Scope, Scopes},
    api_model::{Example, Named, Rfc3339, every_key_present},
};

/// The id of a key in examples.
pub(super) const EXAMPLE_KEY_ID: &str = "4dKb0RzTq2Wm";

/// A key, without its secret. Values that are not known are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Key", transform = every_key_present)]
pub(super) struct KeyDto {
    /// The key's id: the part of the key between the first and the second `_`.
    id: String,
    /// Its name, for people.
    name: String,
    /// What it allows.
    scopes: Vec<Named<Scope>>,
    /// When it was created.
    created_at: Rfc3339,
    /// The name of the key that created it; null if no key was needed.
    created_by: Option<String>,
    /// From when on it is refused; null for never.
    expires_at: Option<Rfc3339>,
    /// Until when the secret before the last rotation is accepted as well.
    previous_secret_until: Option<Rfc3339>,
    /// When it was used last, to the minute.
    last_used_at: Option<Rfc3339>,
}

impl From<ApiKey> for KeyDto {
    fn from(key: ApiKey) -> Self {
        Self {
            id: key.id.to_string(),
            name: key.name,
            scopes: named(key.scopes),
            created_at: Rfc3339(key.created_at),
            created_by: key.created_by,
            expires_at: key.expires_at.map(Rfc3339),
            previous_secret_until: key.previous.map(|(_, until)| Rfc3339(until)),
            last_used_at: key.last_used_at.map(Rfc3339),
        }
    }
}

fn named(scopes: Scopes) -> Vec<Named<Scope>> {
    scopes.iter().map(Named).collect()
}

impl Example for KeyDto {
    fn example() -> Value {
        json!({
            "id": EXAMPLE_KEY_ID,
            "name": "dispatch",
            "scopes": ["read", "command"],
            "createdAt": "2026-11-22T08:00:00.000Z",
            "createdBy": "admin",
            "expiresAt": "2036-11-23T00:00:00.000Z",
            "previousSecretUntil": null,
            "lastUsedAt": "2026-11-23T02:54:59.050Z",
        })
    }
}

/// A key with its secret, which is shown only once.
#[derive(Serialize, JsonSchema)]
pub(super) struct MadeKey {
    #[serde(flatten)]
    info: KeyDto,
    /// The key itself, which clients send as `Authorization: Bearer …`. It is not shown again.
    key: String,
}

impl From<(ApiKey, NewKey)> for MadeKey {
    fn from((key, secret): (ApiKey, NewKey)) -> Self {
        Self {
            info: key.into(),
            key: secret.as_str().to_owned(),
        }
    }
}

impl Example for MadeKey {
    fn example() -> Value {
        let mut example = KeyDto::example();
        example["lastUsedAt"] = Value::Null;
        // No real one: its checksum is wrong.
        let secret = "0".repeat(49);
        example["key"] = json!(format!("vgk_{EXAMPLE_KEY_ID}_{secret}"));
        example
    }
}

/// What the caller may do.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "OwnKey", transform = every_key_present)]
pub(super) struct OwnKeyDto {
    /// The key's id; null if it is one of the settings, or no key was needed.
    id: Option<String>,
    /// The key's name; null if no key was needed.
    name: Option<String>,
    /// What the caller may do.
    scopes: Vec<Named<Scope>>,
    /// From when on the key is refused; null for never.
    expires_at: Option<Rfc3339>,
}

impl From<Caller> for OwnKeyDto {
    fn from(caller: Caller) -> Self {
        Self {
            id: caller.id().map(ToString::to_string),
            name: caller.name().map(str::to_owned),
            scopes: named(caller.scopes()),
            expires_at: caller.expires_at().map(Rfc3339),
        }
    }
}

impl Example for OwnKeyDto {
    fn example() -> Value {
        json!({
            "id": EXAMPLE_KEY_ID,
            "name": "dispatch",
            "scopes": ["read", "command"],
            "expiresAt": "2036-11-23T00:00:00.000Z",
        })
    }
}
