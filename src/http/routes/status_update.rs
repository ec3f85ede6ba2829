//! `/service/status-update`: a report on behalf of a vehicle that cannot hold a connection.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::post_with};
use axum::extract::State;
use garde::Validate;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use vehicle_gateway_macros::operation;

use super::device_id::{parse_device_id, validate_device_id};
use crate::{
    api_model::{EXAMPLE_DEVICE_ID, Example, VehicleDto, device_id_field},
    domain::{Battery, Latitude, Longitude, OutOfRange, Running, VehicleState},
    http::{
        extract::{JsonBody, whole_number},
        json::Json,
        problem::Problem,
        state::ApiState,
    },
};

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new().api_route(
        "/service/status-update",
        post_with(update_status, update_status_operation),
    )
}

/// Report for a vehicle
///
/// Stores a report of a vehicle that cannot hold a connection. The report becomes the vehicle's state and part of its
/// history; `online` does not change. An unknown vehicle is created. The response is sent after the commit.
#[operation(tag = Reports, scope = Ingest)]
async fn update_status(
    State(state): State<Arc<ApiState>>,
    JsonBody(update): JsonBody<StatusUpdate>,
) -> Result<Json<VehicleDto>, Problem> {
    let device_id = parse_device_id(&update.device_id)?;
    let vehicle_state = VehicleState::try_from(&update)?;
    let vehicle = state
        .vehicles
        .update_status(device_id, vehicle_state)
        .await?;
    Ok(Json(vehicle.into()))
}

/// A report for a vehicle.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusUpdate {
    /// The id of the vehicle.
    #[garde(custom(validate_device_id))]
    #[schemars(schema_with = "device_id_field")]
    device_id: String,
    /// Degrees north of the equator; rounded to 9 decimals.
    #[garde(range(min = -90.0, max = 90.0))]
    latitude: f64,
    /// Degrees east of Greenwich; rounded to 9 decimals.
    #[garde(range(min = -180.0, max = 180.0))]
    longitude: f64,
    /// State of charge in percent.
    #[garde(range(min = 0, max = 100))]
    #[serde(deserialize_with = "whole_number")]
    #[schemars(with = "i64")]
    battery: i64,
    /// Whether the vehicle is turned on.
    #[garde(skip)]
    running: bool,
}

impl Example for StatusUpdate {
    fn example() -> Value {
        json!({
            "deviceId": EXAMPLE_DEVICE_ID,
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
        })
    }
}

impl TryFrom<&StatusUpdate> for VehicleState {
    type Error = Problem;

    fn try_from(update: &StatusUpdate) -> Result<Self, Problem> {
        let at = |pointer: &'static str| {
            move |error: OutOfRange| {
                Problem::invalid_field(pointer, format!("must be {}", error.allowed))
            }
        };
        Ok(Self {
            latitude: Latitude::from_f64(update.latitude).map_err(at("/latitude"))?,
            longitude: Longitude::from_f64(update.longitude).map_err(at("/longitude"))?,
            battery: Battery::new(update.battery.try_into().unwrap_or(u64::MAX))
                .map_err(at("/battery"))?,
            running: Running::from(update.running),
        })
    }
}
