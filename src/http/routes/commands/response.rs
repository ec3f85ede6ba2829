//! The response to a command: one mapping of outcomes for all operations.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{Operation, ReferenceOr, Response as ResponseDoc},
};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde_json::json;
use uuid::Uuid;

use super::dto::{CommandResult, Presence, ResultStatus};
use crate::{
    api_model::EXAMPLE_COMMAND_ID,
    domain::{Action, Command, CommandOutcome, CommandState},
    http::{
        json::Json,
        openapi::{document_problems, json_response, location_header},
        problem::{Problem, ProblemKind},
    },
};

/// 200 with the vehicle's reply, or 202 if the command will be sent later.
#[derive(Debug)]
pub(super) struct CommandResponse {
    result: CommandResult,
    /// The path of a queued command.
    location: Option<String>,
}

impl CommandResponse {
    fn new(status: ResultStatus, command_id: Option<Uuid>, reply: Option<String>) -> Self {
        let result = CommandResult {
            success: true,
            command_id,
            status,
            reply,
        };
        Self {
            result,
            location: None,
        }
    }
}

impl TryFrom<CommandOutcome> for CommandResponse {
    type Error = Problem;

    fn try_from(outcome: CommandOutcome) -> Result<Self, Problem> {
        let kind = match outcome {
            CommandOutcome::Recorded { command } => return Self::of_record(command),
            CommandOutcome::Desired { .. } => {
                return Ok(Self::new(ResultStatus::Desired, None, None));
            }
            CommandOutcome::UnknownVehicle => ProblemKind::UnknownVehicle,
            CommandOutcome::Offline => ProblemKind::VehicleOffline,
            CommandOutcome::TooMany => ProblemKind::TooManyCommands,
            CommandOutcome::KeyReused => ProblemKind::IdempotencyKeyReused,
            CommandOutcome::FanOutUnavailable => ProblemKind::FanOutUnavailable,
            CommandOutcome::OwnerUnreachable | CommandOutcome::Moved => {
                ProblemKind::OwnerUnreachable
            }
            CommandOutcome::StoreUnavailable => ProblemKind::StoreUnavailable,
            CommandOutcome::StoreFailed => ProblemKind::Internal,
        };
        Err(kind.into())
    }
}

impl CommandResponse {
    fn of_record(command: Command) -> Result<Self, Problem> {
        let kind = match command.state {
            CommandState::Done => {
                return Ok(Self::new(
                    ResultStatus::Done,
                    Some(command.id),
                    command.reply,
                ));
            }
            CommandState::Queued => {
                return Ok(Self {
                    location: Some(location(&command)),
                    ..Self::new(ResultStatus::Queued, Some(command.id), None)
                });
            }
            // The command was not sent, but a report interval is stored: its own or that of a newer command.
            CommandState::Superseded | CommandState::Cancelled
                if matches!(command.action, Action::KeepMePosted(_)) =>
            {
                return Ok(Self::new(ResultStatus::Desired, Some(command.id), None));
            }
            CommandState::Refused => ProblemKind::VehicleRefused,
            CommandState::NoAnswer => ProblemKind::VehicleNoAnswer,
            CommandState::Disconnected => ProblemKind::VehicleDisconnected,
            CommandState::Expired => ProblemKind::CommandExpired,
            CommandState::Superseded => ProblemKind::CommandSuperseded,
            CommandState::Cancelled => ProblemKind::VehicleOffline,
            CommandState::Sent => ProblemKind::OwnerUnreachable,
            CommandState::Created => {
                tracing::error!(
                    command = %command.id,
                    state = command.state.as_str(),
                    "command has no outcome"
                );
                ProblemKind::Internal
            }
        };
        let mut problem = Problem::new(kind);
        if let Some(detail) = detail(command.action, kind) {
            problem = problem.with_detail(detail);
        }
        Err(problem.with_command(command.id, command.reply))
    }
}

/// The detail for a failed command that has an effect all the same, or may have one; `None`: the default of its kind.
fn detail(action: Action, kind: ProblemKind) -> Option<&'static str> {
    match (action, kind) {
        (Action::Goodbye, ProblemKind::VehicleNoAnswer) => {
            Some("The vehicle did not reply in time. Its connection is closed nevertheless.")
        }
        (Action::KeepMePosted(_), ProblemKind::VehicleNoAnswer) => Some(
            "The vehicle did not reply in time. The report interval is stored and is sent again at the next login.",
        ),
        (Action::KeepMePosted(_), ProblemKind::VehicleDisconnected) => Some(
            "The connection ended before the vehicle replied. The report interval is stored and is sent again at the next login.",
        ),
        (Action::KeepMePosted(_), ProblemKind::CommandExpired) => Some(
            "The report interval could not be sent in time. It is stored and is sent at the next login.",
        ),
        (_, ProblemKind::OwnerUnreachable) => Some(
            "The instance that the vehicle is connected to has accepted the command and does not answer. The vehicle may or may not have carried out the command.",
        ),
        _ => None,
    }
}

fn location(command: &Command) -> String {
    format!("/vehicles/{}/commands/{}", command.device_id, command.id)
}

/// Whether the vehicle is connected, by the outcome of a command that requested its state. That the vehicle is offline
/// is a result, not a problem.
pub(super) fn presence(outcome: CommandOutcome) -> Result<Presence, Problem> {
    match &outcome {
        CommandOutcome::Offline => return Ok(Presence::Disconnected),
        CommandOutcome::Recorded { command } if command.state == CommandState::Cancelled => {
            return Ok(Presence::Disconnected);
        }
        _ => {}
    }
    let response = CommandResponse::try_from(outcome)?;
    if response.result.status == ResultStatus::Done {
        Ok(Presence::Connected)
    } else {
        tracing::error!(
            ?response,
            "a query of a vehicle's state was stored for later"
        );
        Err(ProblemKind::Internal.into())
    }
}

impl IntoResponse for CommandResponse {
    fn into_response(self) -> Response {
        let status = match self.result.status {
            ResultStatus::Done => StatusCode::OK,
            ResultStatus::Queued | ResultStatus::Desired => StatusCode::ACCEPTED,
        };
        let location = self.location.map(|location| [(header::LOCATION, location)]);
        (status, location, Json(self.result)).into_response()
    }
}

impl OperationOutput for CommandResponse {
    type Inner = CommandResult;

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        document_problems(
            ctx,
            operation,
            &[
                ProblemKind::VehicleOffline,
                ProblemKind::VehicleRefused,
                ProblemKind::VehicleDisconnected,
                ProblemKind::CommandSuperseded,
                ProblemKind::TooManyCommands,
                ProblemKind::FanOutUnavailable,
                ProblemKind::OwnerUnreachable,
                ProblemKind::VehicleNoAnswer,
                ProblemKind::CommandExpired,
            ],
        );
        let done = json_response::<CommandResult>(ctx, "The vehicle carried out the command.");
        let mut later = json_response::<CommandResult>(
            ctx,
            "The command will be sent later: it is `queued`, or the report interval is `desired`.",
        );
        for content in later.content.values_mut() {
            content.example = Some(json!({
                "success": true,
                "commandId": EXAMPLE_COMMAND_ID,
                "status": "queued",
                "reply": null,
            }));
        }
        let (name, mut location) = location_header("The path of a queued command.");
        location.required = false;
        later.headers.insert(name, ReferenceOr::Item(location));
        vec![
            (Some(StatusCode::OK.as_u16()), done),
            (Some(StatusCode::ACCEPTED.as_u16()), later),
        ]
    }
}

#[cfg(test)]
#[path = "response_tests.rs"]
mod tests;
