//! `/service/{deviceId}/…`: commands to vehicles, and `/vehicles/{deviceId}/commands`: the log of them.

mod dto;
mod log;
mod request;
mod response;

use std::{sync::Arc, time::Duration};

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::{
    extract::State,
    http::header,
    response::{IntoResponse, Response},
    routing::head,
};
use vehicle_gateway_macros::operation;

use crate::{
    commands::CommandRequest,
    domain::{Action, DeviceId},
    http::{
        extract::{IdempotencyKeyHeader, JsonBody, OptionalJsonBody, Path, Query},
        json::Json,
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
};
use dto::{BroadcastResult, VehicleInfo};
use request::{
    BroadcastMessage, CommandMessage, DeliveryOptions, FetchInfoQuery, FrequencyRequest,
    OptionsBody, TurnOnOrOff,
};
use response::{CommandResponse, presence};

pub(super) use log::routes as log_routes;

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/service/{deviceId}/turnOn",
            post_with(turn_on_vehicle, turn_on_vehicle_operation),
        )
        .api_route(
            "/service/{deviceId}/turnOff",
            post_with(turn_off_vehicle, turn_off_vehicle_operation),
        )
        .api_route(
            "/service/{deviceId}/turnOnOrOff",
            post_with(turn_vehicle, turn_vehicle_operation),
        )
        .api_route(
            "/service/{deviceId}/frequency",
            post_with(set_frequency, set_frequency_operation),
        )
        .api_route(
            "/service/{deviceId}/command",
            post_with(send_command, send_command_operation),
        )
        .api_route(
            "/service/{deviceId}/disconnect",
            post_with(disconnect_vehicle, disconnect_vehicle_operation),
        )
        .api_route(
            "/service/{deviceId}/fetch-info",
            get_with(fetch_info, fetch_info_operation),
        )
        // Else axum would answer it by `GET`, which asks the vehicle.
        .route("/service/{deviceId}/fetch-info", head(refuse_head))
        .api_route(
            "/service/broadcast",
            post_with(send_broadcast, send_broadcast_operation),
        )
}

/// Turn a vehicle on
///
/// Sends `HEY YOU, RUN!` to the vehicle and waits for its reply.
#[operation(tag = Commands, scope = Command)]
async fn turn_on_vehicle(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    key: IdempotencyKeyHeader,
    OptionalJsonBody(body): OptionalJsonBody<OptionsBody>,
) -> Result<CommandResponse, Problem> {
    execute(&state, device_id, key, Action::Run, body.options()).await
}

/// Turn a vehicle off
///
/// Sends `HEY YOU, REST!` to the vehicle and waits for its reply.
#[operation(tag = Commands, scope = Command)]
async fn turn_off_vehicle(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    key: IdempotencyKeyHeader,
    OptionalJsonBody(body): OptionalJsonBody<OptionsBody>,
) -> Result<CommandResponse, Problem> {
    execute(&state, device_id, key, Action::Rest, body.options()).await
}

/// Turn a vehicle on or off
///
/// Sends `HEY YOU, RUN!` or `HEY YOU, REST!` to the vehicle and waits for its reply.
#[operation(tag = Commands, scope = Command)]
async fn turn_vehicle(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<TurnOnOrOff>,
) -> Result<CommandResponse, Problem> {
    execute(&state, device_id, key, body.action(), body.options()).await
}

/// Set a vehicle's report interval
///
/// Sends `KEEP ME POSTED EVERY … SECONDS.` to the vehicle and waits for its reply. If the vehicle is offline, the interval
/// is stored and sent at its next login, however long that takes: `queue` and `ttlSeconds` are accepted and ignored.
#[operation(tag = Commands, scope = Command)]
async fn set_frequency(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<FrequencyRequest>,
) -> Result<CommandResponse, Problem> {
    execute(&state, device_id, key, body.action()?, body.options()).await
}

/// Send a command to a vehicle
///
/// Sends one of the gateway's sentences to the vehicle and waits for its reply. The effect is that of the sentence's own
/// operation; a report interval is stored here as well.
#[operation(tag = Commands, scope = Command)]
async fn send_command(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    key: IdempotencyKeyHeader,
    JsonBody(body): JsonBody<CommandMessage>,
) -> Result<CommandResponse, Problem> {
    execute(&state, device_id, key, body.action()?, body.options()).await
}

/// Disconnect a vehicle
///
/// Sends `GOTTA GO.` to the vehicle, waits for its `SEE YA!` and closes the connection. The connection is also closed if
/// the vehicle does not reply in time.
#[operation(tag = Commands, scope = Command)]
async fn disconnect_vehicle(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    key: IdempotencyKeyHeader,
    OptionalJsonBody(body): OptionalJsonBody<OptionsBody>,
) -> Result<CommandResponse, Problem> {
    execute(&state, device_id, key, Action::Goodbye, body.options()).await
}

/// Fetch a vehicle's current state
///
/// Sends `HOW'S IT GOING?` to the vehicle and waits for its reply. Returns the last known state if the vehicle is
/// offline.
#[operation(tag = Commands, scope = Command, problems = [
    VehicleDisconnected,
    CommandSuperseded,
    TooManyCommands,
    FanOutUnavailable,
    OwnerUnreachable,
    VehicleNoAnswer,
    CommandExpired,
])]
async fn fetch_info(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    Query(query): Query<FetchInfoQuery>,
) -> Result<Json<VehicleInfo>, Problem> {
    let request = CommandRequest {
        device_id: device_id.clone(),
        action: Action::AskState,
        timeout: timeout(&state, query.timeout),
        queue: None,
        key: None,
    };
    let presence = presence(state.commands.execute(request).await)?;
    let vehicle = state.vehicles.vehicle(&device_id).await?;
    Ok(Json(VehicleInfo::new(presence, &vehicle)))
}

async fn refuse_head() -> Response {
    let problem = Problem::new(ProblemKind::MethodNotAllowed);
    ([(header::ALLOW, "GET")], problem).into_response()
}

/// Send a command to all vehicles
///
/// Sends one of the gateway's sentences to every connected vehicle, and waits until all have replied or the timeout has
/// passed. Only one broadcast can run at a time.
#[operation(tag = Commands, scope = Command, problems = [BroadcastUnderWay])]
async fn send_broadcast(
    State(state): State<Arc<ApiState>>,
    JsonBody(body): JsonBody<BroadcastMessage>,
) -> Result<Json<BroadcastResult>, Problem> {
    let timeout = timeout(&state, body.timeout());
    let result = state.commands.broadcast(body.action()?, timeout).await?;
    Ok(Json(result.into()))
}

async fn execute(
    state: &ApiState,
    device_id: DeviceId,
    IdempotencyKeyHeader(key): IdempotencyKeyHeader,
    action: Action,
    options: DeliveryOptions,
) -> Result<CommandResponse, Problem> {
    let request = CommandRequest {
        device_id,
        action,
        timeout: timeout(state, options.timeout),
        queue: options.queue,
        key,
    };
    state.commands.execute(request).await.try_into()
}

fn timeout(state: &ApiState, requested: Option<Duration>) -> Duration {
    requested.unwrap_or(state.options.command_timeout)
}
