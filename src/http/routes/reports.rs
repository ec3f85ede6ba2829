//! `/vehicles/{deviceId}/reports`: the reports of a vehicle.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};
use vehicle_gateway_macros::operation;

use crate::{
    api_model::{EXAMPLE_DEVICE_ID, Example, Rfc3339, device_id_field},
    domain::{DeviceId, Report},
    http::{
        extract::{Path, Query},
        json::Json,
        paging::{HistoryQuery, Page},
        problem::Problem,
        state::ApiState,
    },
    vehicles::Position,
};

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new().api_route(
        "/vehicles/{deviceId}/reports",
        get_with(list_reports, list_reports_operation),
    )
}

/// List a vehicle's reports
///
/// Returns the vehicle's reports, newest first, in pages. Reports that arrive between two pages do not shift the older
/// ones.
#[operation(tag = Reports, scope = Read, problems = [UnreadResponses])]
async fn list_reports(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    Query(query): Query<HistoryQuery<Position>>,
) -> Result<Json<Page<ReportDto>>, Problem> {
    let reports = state.vehicles.reports(&device_id, query.page()).await?;
    Ok(Json(Page::new(
        reports,
        query.limit,
        |last| Position {
            received_at: last.received_at,
            id: last.id,
        },
        |report| ReportDto::new(&device_id, &report),
    )))
}

/// A report of a vehicle.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Report")]
struct ReportDto {
    /// The report's id. Ids ascend in the order in which reports were stored.
    id: i64,
    /// The id of the vehicle.
    #[schemars(schema_with = "device_id_field")]
    device_id: String,
    /// When the gateway received the report.
    received_at: Rfc3339,
    /// Degrees north of the equator.
    #[schemars(range(min = -90, max = 90))]
    latitude: f64,
    /// Degrees east of Greenwich.
    #[schemars(range(min = -180, max = 180))]
    longitude: f64,
    /// State of charge in percent.
    #[schemars(range(min = 0, max = 100))]
    battery: u8,
    /// Whether the vehicle was turned on.
    running: bool,
}

impl ReportDto {
    fn new(device_id: &DeviceId, report: &Report) -> Self {
        Self {
            id: report.id,
            device_id: device_id.to_string(),
            received_at: Rfc3339(report.received_at),
            latitude: report.state.latitude.to_f64(),
            longitude: report.state.longitude.to_f64(),
            battery: report.state.battery.percent(),
            running: report.state.running.is_running(),
        }
    }
}

impl Example for ReportDto {
    fn example() -> Value {
        json!({
            "id": 4711,
            "deviceId": EXAMPLE_DEVICE_ID,
            "receivedAt": "2026-11-23T02:54:59.050Z",
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
        })
    }
}
