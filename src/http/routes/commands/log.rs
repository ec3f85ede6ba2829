//! `/vehicles/{deviceId}/commands`: the commands of a vehicle and their outcomes.

use std::sync::Arc;

use aide::axum::{ApiRouter, routing::get_with};
use axum::extract::State;
use schemars::Schema;
use uuid::Uuid;
use vehicle_gateway_macros::operation;

use crate::{
    api_model::{CommandDto, EXAMPLE_COMMAND_ID},
    domain::DeviceId,
    http::{
        extract::{Path, PathParameter, Query, parse_uuid, uuid_schema},
        json::Json,
        paging::{CommandPosition, HistoryQuery, Page},
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
};

pub(in crate::http::routes) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/vehicles/{deviceId}/commands",
            get_with(list_commands, list_commands_operation),
        )
        .api_route(
            "/vehicles/{deviceId}/commands/{commandId}",
            get_with(get_command, get_command_operation),
        )
}

/// List a vehicle's commands
///
/// Returns the vehicle's commands and their outcomes, newest first, in pages. `from` and `to` refer to `createdAt`.
#[operation(tag = Commands, scope = Read, problems = [UnreadResponses])]
async fn list_commands(
    State(state): State<Arc<ApiState>>,
    Path(device_id): Path<DeviceId>,
    Query(query): Query<HistoryQuery<CommandPosition>>,
) -> Result<Json<Page<CommandDto>>, Problem> {
    let commands = state.vehicles.commands(&device_id, query.page()).await?;
    Ok(Json(Page::new(
        commands,
        query.limit,
        |last| CommandPosition(last.id),
        CommandDto::from,
    )))
}

/// Get a command
///
/// Returns a command and its outcome so far.
#[operation(tag = Commands, scope = Read)]
async fn get_command(
    State(state): State<Arc<ApiState>>,
    Path((device_id, CommandId(command_id))): Path<(DeviceId, CommandId)>,
) -> Result<Json<CommandDto>, Problem> {
    let command = state.vehicles.command(&device_id, command_id).await?;
    Ok(Json(command.into()))
}

/// The id of a command.
struct CommandId(Uuid);

impl PathParameter for CommandId {
    const NAME: &'static str = "commandId";
    const DESCRIPTION: &'static str = "The command's id, from its result or the list of commands.";
    const UNKNOWN: &'static [ProblemKind] = &[ProblemKind::UnknownCommand];

    fn schema() -> Schema {
        uuid_schema(EXAMPLE_COMMAND_ID)
    }

    fn parse(text: &str) -> Result<Self, String> {
        parse_uuid(text).map(Self).ok_or_else(|| {
            "must be a UUID with hyphens, as the list of commands shows it".to_owned()
        })
    }
}
