//! `/vehicles`: the list, one vehicle, its status, registering and forgetting.

use std::sync::Arc;

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Operation, ReferenceOr, Response as ResponseDoc},
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, NoContent, Response},
};
use garde::Validate;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Shared,
    body::{Json, JsonBody},
    describe::{self, Example, json_response},
    extract::{DevicePath, Query},
    paging::{Page, VehicleQuery, encode_vehicle},
    problem::Problem,
    wire::{self, VehicleStatus},
};
use crate::{
    domain::{DeviceId, InvalidDeviceId},
    resource::{self, Vehicle},
};

const TAG: &str = "Vehicles";

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/vehicles",
            get_with(list_vehicles, |op| {
                op.id("list_vehicles").tag(TAG).summary("List vehicles").description(
                    "All vehicles in the order of their ids, in pages. A vehicle that is registered or \
                     deleted between two pages does not shift the others.",
                )
            })
            .post_with(create_vehicle, |op| {
                op.id("create_vehicle").tag(TAG).summary("Register a vehicle").description(
                    "Makes a vehicle known ahead of its first login. One that is known already stays as it \
                     is. Registering is optional: a vehicle that logs in is made by its login.",
                )
            }),
        )
        .api_route(
            "/vehicles/{deviceId}",
            get_with(get_vehicle, |op| {
                op.id("get_vehicle").tag(TAG).summary("Get a vehicle").description(
                    "Everything that is known of the vehicle now.",
                )
            })
            .delete_with(delete_vehicle, |op| {
                op.id("delete_vehicle").tag(TAG).summary("Forget a vehicle").description(
                    "Closes the vehicle's session and forgets the vehicle with its whole history. If it logs \
                     in again, it begins anew.",
                )
            }),
        )
        .api_route(
            "/vehicles/{deviceId}/status",
            get_with(get_vehicle_status, |op| {
                op.id("get_vehicle_status").tag(TAG).summary("Get a vehicle's status").description(
                    "Whether the vehicle is online, and its state as last heard of. Reads what is stored; \
                     the vehicle is not asked.",
                )
            }),
        )
}

async fn list_vehicles(
    State(state): State<Arc<Shared>>,
    Query(query): Query<VehicleQuery>,
) -> Result<Json<Page<Vehicle>>, Problem> {
    let vehicles = state
        .vehicles
        .vehicles(query.online, query.after.as_deref(), query.limit.plus_one())
        .await?;
    Ok(Json(Page::new(
        vehicles,
        query.limit,
        |last| encode_vehicle(&last.device_id),
        Vehicle::from,
    )))
}

/// A vehicle to register.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewVehicle {
    /// The vehicle's name: a UUID, or any name of the allowed characters.
    #[garde(custom(check_device_id))]
    #[schemars(schema_with = "resource::device_id")]
    device_id: String,
}

impl Example for NewVehicle {
    fn example() -> Value {
        json!({ "deviceId": "9180af05-0219-4c88-8a95-3da86b130d43" })
    }
}

/// Whether a body's `deviceId` can be one.
#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape garde asks for"
)]
pub(super) fn check_device_id(device_id: &str, (): &()) -> garde::Result {
    DeviceId::parse(device_id)
        .map(drop)
        .map_err(|InvalidDeviceId| garde::Error::new(InvalidDeviceId))
}

async fn create_vehicle(
    State(state): State<Arc<Shared>>,
    JsonBody(body): JsonBody<NewVehicle>,
) -> Result<Registration, Problem> {
    let device_id = wire::checked_device_id(&body.device_id)?;
    let registered = state.vehicles.register(device_id).await?;
    Ok(Registration {
        location: format!("/vehicles/{}", registered.vehicle.device_id),
        created: registered.created,
        vehicle: registered.vehicle.into(),
    })
}

/// 201 with the new vehicle and where it is, or 200 with the one that was there.
struct Registration {
    created: bool,
    location: String,
    vehicle: Vehicle,
}

impl IntoResponse for Registration {
    fn into_response(self) -> Response {
        if self.created {
            let location = [(header::LOCATION, self.location)];
            (StatusCode::CREATED, location, Json(self.vehicle)).into_response()
        } else {
            Json(self.vehicle).into_response()
        }
    }
}

impl OperationOutput for Registration {
    type Inner = Vehicle;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let mut created = json_response::<Vehicle>(ctx, "The vehicle was made.");
        let location = describe::header(
            "The path of the new vehicle.",
            json_schema!({ "type": "string", "format": "uri-reference" }),
        );
        created
            .headers
            .insert("Location".to_owned(), ReferenceOr::Item(location));
        let unchanged = json_response::<Vehicle>(ctx, "The vehicle was there; it is unchanged.");
        vec![
            (Some(StatusCode::CREATED.as_u16()), created),
            (Some(StatusCode::OK.as_u16()), unchanged),
        ]
    }
}

async fn get_vehicle(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
) -> Result<Json<Vehicle>, Problem> {
    Ok(Json(state.vehicles.vehicle(&device_id).await?.into()))
}

async fn delete_vehicle(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
) -> Result<NoContent, Problem> {
    state.vehicles.delete(&device_id).await?;
    Ok(NoContent)
}

async fn get_vehicle_status(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
) -> Result<Json<VehicleStatus>, Problem> {
    Ok(Json(state.vehicles.vehicle(&device_id).await?.into()))
}
