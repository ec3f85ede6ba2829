//! `POST /service/status-update`: a report for a vehicle that cannot hold a connection.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::post_with};
use axum::extract::State;
use garde::Validate;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    body::{Json, JsonBody, whole_number},
    describe::Example,
    kind::Kind,
    problem::{InvalidInput, Problem},
    vehicles::check_device_id,
    wire,
};
use crate::{
    domain::{Battery, Latitude, Longitude, OutOfRange, Running, VehicleState},
    resource::{self, Vehicle},
};

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new().api_route(
        "/service/status-update",
        post_with(update_status, |op| {
            op.id("update_status")
                .tag("Service")
                .summary("Report for a vehicle")
                .description(
                    "Stores a report for a vehicle that cannot hold a connection. It enters the vehicle's \
                     history and becomes its state; `online` stays as it is. A vehicle that was unknown is \
                     made. The answer comes after the commit.",
                )
        }),
    )
}

/// A report over HTTP.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct StatusUpdate {
    /// Which vehicle reports.
    #[garde(custom(check_device_id))]
    #[schemars(schema_with = "resource::device_id")]
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
            "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43",
            "latitude": 43.62152,
            "longitude": 1.435_03,
            "battery": 80,
            "running": true,
        })
    }
}

async fn update_status(
    State(state): State<Arc<Shared>>,
    JsonBody(update): JsonBody<StatusUpdate>,
) -> Result<Json<Vehicle>, Problem> {
    let device_id = wire::checked_device_id(&update.device_id)?;
    let vehicle_state = VehicleState::try_from(&update)?;
    let vehicle = state
        .vehicles
        .update_status(device_id, vehicle_state)
        .await?;
    Ok(Json(vehicle.into()))
}

impl TryFrom<&StatusUpdate> for VehicleState {
    type Error = Problem;

    fn try_from(update: &StatusUpdate) -> Result<Self, Problem> {
        let at = |pointer: &'static str| {
            move |error: OutOfRange| {
                let error = InvalidInput::body(pointer, format!("must be {}", error.allowed));
                Problem::invalid(Kind::InvalidBody, vec![error])
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
