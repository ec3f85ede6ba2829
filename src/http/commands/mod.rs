//! What operators ask of vehicles, and the log of it.

mod answer;
mod body;
mod wire;

use std::{sync::Arc, time::Duration};

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::extract::State;

use super::{
    Shared,
    body::{Json, JsonBody, OptionalJsonBody},
    extract::{CommandPath, DevicePath, IdempotencyKey, Query},
    paging::{CommandPosition, Cursor, HistoryQuery, Page},
    problem::Problem,
};
use crate::{commands::CommandRequest, domain::Action, resource::Command};
use answer::{Asked, CommandAnswer, presence};
use body::{
    BroadcastMessage, CommandMessage, CommandOptions, FetchQuery, Frequency, Options, TurnOnOrOff,
};
use wire::{BroadcastResult, VehicleInfo};

pub(super) use body::MAX_TIMEOUT;

const TAG: &str = "Commands";
const LOG_TAG: &str = "History";

/// What a vehicle has to answer.
pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/service/{deviceId}/turnOn",
            post_with(turn_on_vehicle, |op| {
                op.id("turn_on_vehicle").tag(TAG).summary("Turn a vehicle on").description(
                    "Says `HEY YOU, RUN!` to the vehicle and waits for its answer.",
                )
            }),
        )
        .api_route(
            "/service/{deviceId}/turnOff",
            post_with(turn_off_vehicle, |op| {
                op.id("turn_off_vehicle").tag(TAG).summary("Turn a vehicle off").description(
                    "Says `HEY YOU, REST!` to the vehicle and waits for its answer.",
                )
            }),
        )
        .api_route(
            "/service/{deviceId}/turnOnOrOff",
            post_with(turn_vehicle, |op| {
                op.id("turn_vehicle").tag(TAG).summary("Turn a vehicle on or off").description(
                    "Says `HEY YOU, RUN!` or `HEY YOU, REST!` to the vehicle and waits for its answer.",
                )
            }),
        )
        .api_route(
            "/service/{deviceId}/frequency",
            post_with(set_frequency, |op| {
                op.id("set_frequency").tag(TAG).summary("Set how often a vehicle reports").description(
                    "Says `KEEP ME POSTED EVERY … SECONDS.` to the vehicle and waits for its answer. A \
                     vehicle that is offline is asked when it logs in next, however long that takes: `queue` \
                     and `ttlSeconds` are taken and change nothing.",
                )
            }),
        )
        .api_route(
            "/service/{deviceId}/command",
            post_with(send_command, |op| {
                op.id("send_command").tag(TAG).summary("Say something to a vehicle").description(
                    "Says one of the gateway's sentences to the vehicle and waits for its answer. It does what \
                     the operation of that sentence does; a frequency is kept here as well.",
                )
            }),
        )
        .api_route(
            "/service/{deviceId}/disconnect",
            post_with(disconnect_vehicle, |op| {
                op.id("disconnect_vehicle").tag(TAG).summary("Disconnect a vehicle").description(
                    "Says `GOTTA GO.` to the vehicle, waits for its `SEE YA!` and closes the connection. A \
                     vehicle that does not answer in time is disconnected all the same.",
                )
            }),
        )
        .api_route(
            "/service/{deviceId}/fetch-info",
            get_with(fetch_info, |op| {
                op.id("fetch_info").tag(TAG).summary("Ask a vehicle for its state").description(
                    "Says `HOW'S IT GOING?` to the vehicle and waits for its answer. Of a vehicle that is \
                     offline, the state as last heard of.",
                )
            }),
        )
        .api_route(
            "/service/broadcast",
            post_with(send_broadcast, |op| {
                op.id("send_broadcast").tag(TAG).summary("Say something to all vehicles").description(
                    "Says one of the gateway's sentences to every vehicle that is connected, and waits until \
                     all have answered or the time is over. One broadcast at a time.",
                )
            }),
        )
}

/// What is read from the store alone.
pub(super) fn log_routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/vehicles/{deviceId}/commands",
            get_with(list_commands, |op| {
                op.id("list_commands").tag(LOG_TAG).summary("List a vehicle's commands").description(
                    "What was asked of the vehicle and what became of it, newest first, in pages. A command's \
                     time is its `createdAt`.",
                )
            }),
        )
        .api_route(
            "/vehicles/{deviceId}/commands/{commandId}",
            get_with(get_command, |op| {
                op.id("get_command").tag(LOG_TAG).summary("Get a command").description(
                    "One command and what became of it so far.",
                )
            }),
        )
}

async fn turn_on_vehicle(
    State(state): State<Arc<Shared>>,
    vehicle: DevicePath,
    key: IdempotencyKey,
    OptionalJsonBody(body): OptionalJsonBody<CommandOptions>,
) -> Result<CommandAnswer, Problem> {
    ask(&state, vehicle, key, Action::Run, body.options()).await
}

async fn turn_off_vehicle(
    State(state): State<Arc<Shared>>,
    vehicle: DevicePath,
    key: IdempotencyKey,
    OptionalJsonBody(body): OptionalJsonBody<CommandOptions>,
) -> Result<CommandAnswer, Problem> {
    ask(&state, vehicle, key, Action::Rest, body.options()).await
}

async fn turn_vehicle(
    State(state): State<Arc<Shared>>,
    vehicle: DevicePath,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<TurnOnOrOff>,
) -> Result<CommandAnswer, Problem> {
    ask(&state, vehicle, key, body.action(), body.options()).await
}

async fn set_frequency(
    State(state): State<Arc<Shared>>,
    vehicle: DevicePath,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<Frequency>,
) -> Result<CommandAnswer, Problem> {
    ask(&state, vehicle, key, body.action()?, body.options()).await
}

async fn send_command(
    State(state): State<Arc<Shared>>,
    vehicle: DevicePath,
    key: IdempotencyKey,
    JsonBody(body): JsonBody<CommandMessage>,
) -> Result<CommandAnswer, Problem> {
    ask(&state, vehicle, key, body.action()?, body.options()).await
}

async fn disconnect_vehicle(
    State(state): State<Arc<Shared>>,
    vehicle: DevicePath,
    key: IdempotencyKey,
    OptionalJsonBody(body): OptionalJsonBody<CommandOptions>,
) -> Result<CommandAnswer, Problem> {
    ask(&state, vehicle, key, Action::Goodbye, body.options()).await
}

async fn ask(
    state: &Shared,
    DevicePath(device_id): DevicePath,
    IdempotencyKey(key): IdempotencyKey,
    action: Action,
    options: Options,
) -> Result<CommandAnswer, Problem> {
    let request = CommandRequest {
        device_id,
        action,
        timeout: timeout(state, options.timeout),
        queue: options.queue,
        key,
    };
    state.commands.command(request).await?.try_into()
}

fn timeout(state: &Shared, wanted: Option<Duration>) -> Duration {
    wanted.unwrap_or(state.options.command_timeout)
}

async fn fetch_info(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
    Query(query): Query<FetchQuery>,
) -> Result<Asked<VehicleInfo>, Problem> {
    let question = CommandRequest {
        device_id: device_id.clone(),
        action: Action::AskState,
        timeout: timeout(&state, query.timeout),
        queue: None,
        key: None,
    };
    let presence = presence(state.commands.command(question).await)?;
    let vehicle = state.vehicles.vehicle(&device_id).await?;
    Ok(Asked(VehicleInfo::new(presence, &vehicle)))
}

async fn send_broadcast(
    State(state): State<Arc<Shared>>,
    JsonBody(body): JsonBody<BroadcastMessage>,
) -> Result<Asked<BroadcastResult>, Problem> {
    let timeout = timeout(&state, body.timeout());
    let result = state.commands.broadcast(body.action()?, timeout).await?;
    Ok(Asked(result.into()))
}

async fn list_commands(
    State(state): State<Arc<Shared>>,
    DevicePath(device_id): DevicePath,
    Query(query): Query<HistoryQuery<CommandPosition>>,
) -> Result<Json<Page<Command>>, Problem> {
    let commands = state.vehicles.commands(&device_id, query.page()).await?;
    Ok(Json(Page::new(
        commands,
        query.limit,
        |last| CommandPosition(last.id).encode(),
        Command::from,
    )))
}

async fn get_command(
    State(state): State<Arc<Shared>>,
    CommandPath {
        device_id,
        command_id,
    }: CommandPath,
) -> Result<Json<Command>, Problem> {
    let command = state.vehicles.command(&device_id, command_id).await?;
    Ok(Json(command.into()))
}
