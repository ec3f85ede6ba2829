//! `/vehicles`: the list of vehicles, one vehicle and its status.

mod dto;

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
use vehicle_gateway_macros::operation;

use super::device_id::parse_device_id;
use crate::{
    api_model::VehicleDto,
    domain::DeviceId,
    http::{
        extract::{JsonBody, Path, Query},
        guard::AuditSubject,
        json::Json,
        openapi::{json_response, location_header},
        paging::{Page, VehiclePosition},
        problem::Problem,
        state::ApiState,
    },
};
use dto::{NewVehicle, VehicleQuery, VehicleStatus};

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/vehicles",
            get_with(list_vehicles, list_vehicles_operation)
                .post_with(create_vehicle, create_vehicle_operation),
        )
        .api_route(
            "/vehicles/{deviceId}",
            get_with(get_vehicle, get_vehicle_operation)
                .delete_with(delete_vehicle, delete_vehicle_operation),
        )
        .api_route(
            "/vehicles/{deviceId}/status",
            get_with(get_vehicle_status, get_vehicle_status_operation),
        )
}

/// List vehicles
///
/// Returns all vehicles in the order of their ids, in pages. Vehicles that are created or deleted between two pages do
/// not shift the others.
#[operation(tag = Vehicles, scope = Read, problems = [UnreadResponses])]
async fn list_vehicles(
    State(state): State<Arc<ApiState>>,
    Query(query): Query<VehicleQuery>,
) -> Result<Json<Page<VehicleDto>>, Problem> {
    let after = query.after.as_ref().map(|VehiclePosition(id)| id.as_str());
    let vehicles = state
        .vehicles
        .vehicles(query.online, after, query.limit.plus_one())
        .await?;
    Ok(Json(Page::new(
        vehicles,
        query.limit,
        |last| VehiclePosition(last.device_id.to_string()),
        VehicleDto::from,
    )))
}

/// Register a vehicle
///
/// Creates a vehicle before its first login. A vehicle that exists already is returned unchanged. Registration is
/// optional: the first login of an unknown vehicle creates it as well.
#[operation(tag = Vehicles, scope = Manage)]
async fn create_vehicle(
    State(state): State<Arc<ApiState>>,
    subject: AuditSubject,
    JsonBody(body): JsonBody<NewVehicle>,
) -> Result<RegisteredVehicle, Problem> {
    let device_id = parse_device_id(&body.device_id)?;
    subject.set(&device_id);
    let registered = state.vehicles.register(device_id).await?;
    Ok(RegisteredVehicle {
        created: registered.created,
        vehicle: registered.vehicle.into(),
    })
}

/// Get a vehicle
///
/// Returns the vehicle's current state and its newest session.
#[operation(tag = Vehicles, scope = Read)]
async fn get_vehicle(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
) -> Result<Json<VehicleDto>, Problem> {
    Ok(Json(state.vehicles.vehicle(&device_id).await?.into()))
}

/// Delete a vehicle
///
/// Closes the vehicle's session and deletes the vehicle with its history. If it logs in again, it is a new vehicle.
#[operation(tag = Vehicles, scope = Manage)]
async fn delete_vehicle(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
) -> Result<NoContent, Problem> {
    state.vehicles.delete(&device_id).await?;
    Ok(NoContent)
}

/// Get a vehicle's status
///
/// Returns whether the vehicle is online, and its last reported state. Nothing is sent to the vehicle.
#[operation(tag = Vehicles, scope = Read)]
async fn get_vehicle_status(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
) -> Result<Json<VehicleStatus>, Problem> {
    Ok(Json(state.vehicles.vehicle(&device_id).await?.into()))
}

/// 201 with the new vehicle and its `Location`, or 200 with the existing one.
struct RegisteredVehicle {
    created: bool,
    vehicle: VehicleDto,
}

impl IntoResponse for RegisteredVehicle {
    fn into_response(self) -> Response {
        if self.created {
            let location = format!("/vehicles/{}", self.vehicle.device_id);
            let location = [(header::LOCATION, location)];
            (StatusCode::CREATED, location, Json(self.vehicle)).into_response()
        } else {
            Json(self.vehicle).into_response()
        }
    }
}

impl OperationOutput for RegisteredVehicle {
    type Inner = VehicleDto;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let mut created = json_response::<VehicleDto>(ctx, "The vehicle was created.");
        let (name, location) = location_header("The path of the new vehicle.");
        created.headers.insert(name, ReferenceOr::Item(location));
        let unchanged = json_response::<VehicleDto>(ctx, "The vehicle exists and is unchanged.");
        vec![
            (Some(StatusCode::CREATED.as_u16()), created),
            (Some(StatusCode::OK.as_u16()), unchanged),
        ]
    }
}
