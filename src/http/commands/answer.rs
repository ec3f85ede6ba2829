//! What became of a command, as HTTP says it: one mapping for every way to ask.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{Operation, ReferenceOr, Response as ResponseDoc},
};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use serde_json::json;
use uuid::Uuid;

use super::wire::{BroadcastResult, CommandResult, Presence, ResultStatus, VehicleInfo};
use crate::{
    commands::{CommandError, Outcome},
    domain::{Action, Command, CommandState},
    http::{
        body::Json,
        describe::{self, Example, json_response},
        kind::Kind,
        problem::Problem,
        wire::EXAMPLE_COMMAND_ID,
    },
};

/// 200 with what the vehicle answered, or 202 with what will be sent to it later.
#[derive(Debug)]
pub(super) struct CommandAnswer {
    result: CommandResult,
    /// Where to see what becomes of a queued command.
    location: Option<String>,
}

impl CommandAnswer {
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

impl TryFrom<Outcome> for CommandAnswer {
    type Error = Problem;

    fn try_from(outcome: Outcome) -> Result<Self, Problem> {
        let command = match outcome {
            Outcome::Command(command) => command,
            Outcome::Desired(_) => return Ok(Self::new(ResultStatus::Desired, None, None)),
        };
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
            // The command was not sent, but a frequency is stored: this one, or that of a newer command.
            CommandState::Superseded | CommandState::Cancelled
                if matches!(command.action, Action::KeepMePosted(_)) =>
            {
                return Ok(Self::new(ResultStatus::Desired, Some(command.id), None));
            }
            CommandState::Refused => Kind::VehicleRefused,
            CommandState::NoAnswer => Kind::VehicleNoAnswer,
            CommandState::Disconnected => Kind::VehicleDisconnected,
            CommandState::Expired => Kind::CommandExpired,
            CommandState::Superseded => Kind::CommandSuperseded,
            CommandState::Cancelled => Kind::VehicleOffline,
            CommandState::Sent => Kind::OwnerUnreachable,
            CommandState::Created => {
                tracing::error!(
                    command = %command.id,
                    state = command.state.as_str(),
                    "a command has no outcome"
                );
                Kind::Internal
            }
        };
        let mut problem = Problem::new(kind);
        if let Some(detail) = detail(command.action, kind) {
            problem = problem.with_detail(detail);
        }
        Err(problem.with_command(command.id, command.reply))
    }
}

/// What is left of a command that came to nothing, if anything is.
fn detail(action: Action, kind: Kind) -> Option<&'static str> {
    match (action, kind) {
        (Action::Goodbye, Kind::VehicleNoAnswer) => {
            Some("The vehicle did not answer in time. Its connection is closed all the same.")
        }
        (Action::KeepMePosted(_), Kind::VehicleNoAnswer) => Some(
            "The vehicle did not answer in time. The frequency is kept and is sent again at the next login.",
        ),
        (Action::KeepMePosted(_), Kind::VehicleDisconnected) => Some(
            "The connection ended before an answer. The frequency is kept and is sent again at the next login.",
        ),
        (Action::KeepMePosted(_), Kind::CommandExpired) => Some(
            "The frequency could not be sent in time. It is kept and is sent at the next login.",
        ),
        (_, Kind::OwnerUnreachable) => Some(
            "The instance that the vehicle is connected to does not answer. It has claimed the command: the vehicle may or may not have done it.",
        ),
        _ => None,
    }
}

fn location(command: &Command) -> String {
    format!("/vehicles/{}/commands/{}", command.device_id, command.id)
}

/// Whether a vehicle that was asked for its state told it. That it is offline is an answer as well.
pub(super) fn presence(outcome: Result<Outcome, CommandError>) -> Result<Presence, Problem> {
    match outcome {
        Err(CommandError::Offline) => return Ok(Presence::Disconnected),
        Ok(Outcome::Command(command)) if command.state == CommandState::Cancelled => {
            return Ok(Presence::Disconnected);
        }
        _ => {}
    }
    let answer = CommandAnswer::try_from(outcome?)?;
    if answer.result.status == ResultStatus::Done {
        Ok(Presence::Connected)
    } else {
        tracing::error!(?answer, "a question was kept for later");
        Err(Kind::Internal.into())
    }
}

impl IntoResponse for CommandAnswer {
    fn into_response(self) -> Response {
        let status = match self.result.status {
            ResultStatus::Done => StatusCode::OK,
            ResultStatus::Queued | ResultStatus::Desired => StatusCode::ACCEPTED,
        };
        let location = self.location.map(|location| [(header::LOCATION, location)]);
        (status, location, Json(self.result)).into_response()
    }
}

impl OperationOutput for CommandAnswer {
    type Inner = CommandResult;

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        describe::problems(
            ctx,
            operation,
            &[
                Kind::VehicleOffline,
                Kind::VehicleRefused,
                Kind::VehicleDisconnected,
                Kind::CommandSuperseded,
                Kind::TooManyCommands,
                Kind::FanOutUnavailable,
                Kind::OwnerUnreachable,
                Kind::VehicleNoAnswer,
                Kind::CommandExpired,
            ],
        );
        let done = json_response::<CommandResult>(ctx, "The vehicle answered yes.");
        let mut later = json_response::<CommandResult>(
            ctx,
            "The vehicle was not asked yet: the command is `queued`, or a frequency is `desired`.",
        );
        for media in later.content.values_mut() {
            media.example = Some(json!({
                "success": true,
                "commandId": EXAMPLE_COMMAND_ID,
                "status": "queued",
                "reply": null,
            }));
        }
        let mut location = describe::header(
            "The path of a queued command, to see what becomes of it.",
            json_schema!({ "type": "string", "format": "uri-reference" }),
        );
        location.required = false;
        later
            .headers
            .insert("Location".to_owned(), ReferenceOr::Item(location));
        vec![
            (Some(StatusCode::OK.as_u16()), done),
            (Some(StatusCode::ACCEPTED.as_u16()), later),
        ]
    }
}

/// What asking came to, as JSON with status 200.
#[derive(Debug)]
pub(super) struct Asked<T>(pub(super) T);

/// Why else asking may end than with a result.
pub(super) trait MayFail {
    const PROBLEMS: &[Kind];
}

impl MayFail for VehicleInfo {
    const PROBLEMS: &[Kind] = &[
        Kind::VehicleDisconnected,
        Kind::CommandSuperseded,
        Kind::TooManyCommands,
        Kind::FanOutUnavailable,
        Kind::OwnerUnreachable,
        Kind::VehicleNoAnswer,
        Kind::CommandExpired,
    ];
}

impl MayFail for BroadcastResult {
    const PROBLEMS: &[Kind] = &[Kind::BroadcastUnderWay];
}

impl<T: Serialize> IntoResponse for Asked<T> {
    fn into_response(self) -> Response {
        Json(self.0).into_response()
    }
}

impl<T: JsonSchema + Example + MayFail> OperationOutput for Asked<T> {
    type Inner = T;

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        describe::problems(ctx, operation, T::PROBLEMS);
        Json::<T>::inferred_responses(ctx, operation)
    }
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
