//! Schemas and values that several DTOs use.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::example::EXAMPLE_DEVICE_ID;
use crate::domain::{DeviceId, Timestamp};

/// The schema of a device id. `.` and `..` are excluded because they cannot stand in a path.
pub(crate) fn device_id_schema() -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": DeviceId::MAX_LEN,
        "pattern": "^[A-Za-z0-9._:-]+$",
        "not": { "enum": [".", ".."] },
        "examples": [EXAMPLE_DEVICE_ID, "truck-17"],
    })
}

/// [`device_id_schema`] in the shape of `#[schemars(schema_with = …)]`.
pub(crate) fn device_id_field(_: &mut SchemaGenerator) -> Schema {
    device_id_schema()
}

/// The schema of a device id or null, in the shape of `#[schemars(schema_with = …)]`.
pub(crate) fn optional_device_id(_: &mut SchemaGenerator) -> Schema {
    let mut schema = device_id_schema();
    schema.insert("type".to_owned(), json!(["string", "null"]));
    schema
}

/// A timestamp in JSON: RFC 3339 in UTC, with milliseconds.
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

/// Marks every property of an object as required: an `Option` without a value is null, not absent.
pub(crate) fn every_key_present(schema: &mut Schema) {
    let keys: Vec<Value> = schema
        .get("properties")
        .and_then(Value::as_object)
        .map(|properties| properties.keys().cloned().map(Value::String).collect())
        .unwrap_or_default();
    schema.insert("required".to_owned(), Value::Array(keys));
}
