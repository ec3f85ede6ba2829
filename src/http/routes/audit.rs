//! `/audit`: what was done over the API, and by whom.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::extract::State;
use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;
use vehicle_gateway_macros::operation;

use crate::{
    api_model::{
        EXAMPLE_DEVICE_ID, Example, Rfc3339, device_id_schema, every_key_present,
        optional_device_id,
    },
    audit::{AuditPage, AuditRecord},
    domain::{DeviceId, Timestamp},
    http::{
        extract::{FromQuery, Query, QueryFields, QueryParameter},
        json::Json,
        paging::{AuditPosition, Limit, Page, PageCursor, parse_timestamp, timestamp_parameter},
        problem::Problem,
        state::ApiState,
    },
};

/// The longest name of a key, in characters.
const MAX_KEY: usize = 64;

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new().api_route(
        "/audit",
        get_with(list_audit_records, list_audit_records_operation),
    )
}

/// List audit records
///
/// Returns who changed something or spoke to a vehicle over the API, newest first, in pages. A request is recorded when it
/// ends, also if it failed; one that was refused for want of a key is not.
#[operation(tag = Audit, scope = Keys, problems = [UnreadResponses])]
async fn list_audit_records(
    State(state): State<Arc<ApiState>>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<Page<AuditRecordDto>>, Problem> {
    let limit = query.limit;
    let records = state.audit.records(query.page()).await?;
    Ok(Json(Page::new(
        records,
        limit,
        |last| AuditPosition(last.id),
        AuditRecordDto::from,
    )))
}

/// The query of the audit records.
#[derive(Debug)]
struct AuditQuery {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    key: Option<String>,
    device_id: Option<DeviceId>,
    older_than: Option<AuditPosition>,
    limit: Limit,
}

impl AuditQuery {
    /// The query of the store, with one record more than the page holds.
    fn page(self) -> AuditPage {
        AuditPage {
            from: self.from,
            to: self.to,
            key: self.key,
            device_id: self.device_id,
            older_than: self.older_than.map(|AuditPosition(id)| id),
            limit: self.limit.plus_one(),
        }
    }
}

impl FromQuery for AuditQuery {
    fn parameters(_: &mut SchemaGenerator) -> Vec<QueryParameter> {
        vec![
            timestamp_parameter(
                "from",
                "Only records at or after this time (RFC 3339; write `+` as `%2B`).",
            ),
            timestamp_parameter(
                "to",
                "Only records before this time (RFC 3339; write `+` as `%2B`).",
            ),
            QueryParameter {
                name: "key",
                description: "Only requests with this key: its id or its name.",
                schema: json_schema!({
                    "type": "string",
                    "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]{0,64}$",
                    "examples": ["dispatch"],
                }),
            },
            QueryParameter {
                name: "deviceId",
                description: "Only requests about this vehicle.",
                schema: device_id_schema(),
            },
            Limit::parameter(),
            AuditPosition::parameter(),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        Self {
            from: fields.take("from", parse_timestamp),
            to: fields.take("to", parse_timestamp),
            key: fields.take("key", |text| {
                // Other texts name no key, and PostgreSQL takes no NUL in a text.
                let is_name =
                    text.chars().count() <= MAX_KEY && !text.chars().any(char::is_control);
                let key = is_name.then(|| text.to_owned());
                key.ok_or("must be the id or the name of a key: at most 64 printable characters")
            }),
            device_id: fields.take("deviceId", |text| {
                DeviceId::parse(text).map_err(|_| "must be the id of a vehicle")
            }),
            older_than: AuditPosition::take(fields),
            limit: Limit::take(fields),
        }
    }
}

/// A request that changed something or spoke to a vehicle, or tried to. Values that are not known are null.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "AuditRecord", transform = every_key_present)]
struct AuditRecordDto {
    /// The record's id. Ids ascend with time.
    id: Uuid,
    /// When the request ended.
    at: Rfc3339,
    /// The id of its key; null for a key of the settings, and if no key was needed.
    key_id: Option<String>,
    /// The name of its key; null if no key was needed.
    key_name: Option<String>,
    /// The address that it came from. Behind a proxy, that of the proxy.
    address: String,
    /// The id of its operation in this document.
    operation: String,
    /// Its method.
    method: String,
    /// Its path, without the query, or the path of what it created; at most 255 characters.
    path: String,
    /// The vehicle that it was about.
    #[schemars(schema_with = "optional_device_id")]
    device_id: Option<String>,
    /// The status of the response; null if the client was gone before there was one. Then what it asked for may have been
    /// done.
    status: Option<u16>,
    /// The kind of problem, if the response is one: the last part of its `type`.
    problem: Option<String>,
    /// The request's `X-Request-Id`, which the client gave or got.
    request_id: String,
}

impl From<AuditRecord> for AuditRecordDto {
    fn from(record: AuditRecord) -> Self {
        Self {
            id: record.id,
            at: Rfc3339(record.at),
            key_id: record.key_id.map(|id| id.to_string()),
            key_name: record.key_name,
            address: record.address,
            operation: record.operation,
            method: record.method,
            path: record.path,
            device_id: record.device_id.map(|id| id.to_string()),
            status: record.status,
            problem: record.problem,
            request_id: record.request_id,
        }
    }
}

impl Example for AuditRecordDto {
    fn example() -> Value {
        json!({
            "id": "019ab0c4-11de-7a40-8f6e-2b7d94c105f1",
            "at": "2026-11-23T02:54:59.050Z",
            "keyId": "4dKb0RzTq2Wm",
            "keyName": "dispatch",
            "address": "192.0.2.17",
            "operation": "turn_on_vehicle",
            "method": "POST",
            "path": format!("/service/{EXAMPLE_DEVICE_ID}/turnOn"),
            "deviceId": EXAMPLE_DEVICE_ID,
            "status": 409,
            "problem": "vehicle-offline",
            "requestId": "019ab0c4-11de-7a40-8f6e-2b7d94c105f0",
        })
    }
}
