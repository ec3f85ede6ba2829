use super::*;
use crate::{
    domain::{CommandOrigin, DeviceId, ReportInterval, Timestamp},
    http::openapi,
};
use serde_json::Value;
use strum::VariantArray;

fn command(action: Action, state: CommandState) -> Command {
    Command {
        id: EXAMPLE_COMMAND_ID,
        device_id: DeviceId::parse("truck").unwrap(),
        action,
        origin: CommandOrigin::Api,
        state,
        created_at: Timestamp::from_millis(0),
        expires_at: Timestamp::from_millis(1),
        sent_at: None,
        finished_at: None,
        reply: matches!(state, CommandState::Done | CommandState::Refused)
            .then(|| "what it said".to_owned()),
        late_reply: None,
    }
}

fn outcome(action: Action, state: CommandState) -> CommandOutcome {
    CommandOutcome::Recorded {
        command: command(action, state),
    }
}

fn frequency() -> Action {
    Action::KeepMePosted(interval())
}

fn interval() -> ReportInterval {
    ReportInterval::new(60).unwrap()
}

fn every_action() -> [Action; 5] {
    [
        Action::AskState,
        frequency(),
        Action::Run,
        Action::Rest,
        Action::Goodbye,
    ]
}

/// Status, location and body of the response to an outcome.
fn respond(outcome: CommandOutcome) -> (u16, Option<String>, Value) {
    match CommandResponse::try_from(outcome) {
        Ok(response) => {
            let body = serde_json::to_value(&response.result).unwrap();
            let location = response.location.clone();
            let response = response.into_response();
            let header = response.headers().get(header::LOCATION);
            assert_eq!(
                header.map(|value| value.to_str().unwrap()),
                location.as_deref()
            );
            (response.status().as_u16(), location, body)
        }
        Err(problem) => {
            let body = serde_json::to_value(problem.details()).unwrap();
            (problem.into_response().status().as_u16(), None, body)
        }
    }
}

/// Status and kind of the problem of an outcome.
fn problem(outcome: CommandOutcome) -> (u16, String) {
    let (status, _, body) = respond(outcome);
    assert_eq!(body["commandId"], json!(EXAMPLE_COMMAND_ID), "{body}");
    let name = body["type"].as_str().unwrap().rsplit(':').next();
    (status, name.unwrap().to_owned())
}

#[test]
fn a_done_command_is_200_with_the_reply() {
    for action in every_action() {
        let (status, location, body) = respond(outcome(action, CommandState::Done));
        assert_eq!((status, location), (200, None));
        assert_eq!(
            body,
            json!({
                "success": true, "commandId": EXAMPLE_COMMAND_ID, "status": "done", "reply": "what it said",
            })
        );
    }
}

#[test]
fn a_command_for_later_is_202_and_a_queued_one_has_a_location() {
    let path = format!("/vehicles/truck/commands/{EXAMPLE_COMMAND_ID}");
    for (outcome, location, id, status) in [
        (
            outcome(Action::Run, CommandState::Queued),
            Some(path),
            json!(EXAMPLE_COMMAND_ID),
            "queued",
        ),
        (
            CommandOutcome::Desired {
                interval: interval(),
            },
            None,
            Value::Null,
            "desired",
        ),
        (
            outcome(frequency(), CommandState::Superseded),
            None,
            json!(EXAMPLE_COMMAND_ID),
            "desired",
        ),
        (
            outcome(frequency(), CommandState::Cancelled),
            None,
            json!(EXAMPLE_COMMAND_ID),
            "desired",
        ),
    ] {
        let expected = json!({
            "success": true, "commandId": id, "status": status, "reply": null,
        });
        assert_eq!(respond(outcome), (202, location, expected));
    }
}

#[test]
fn a_failed_command_is_a_problem_with_its_id() {
    for (state, status, name) in [
        (CommandState::Refused, 409, "vehicle-refused"),
        (CommandState::Disconnected, 409, "vehicle-disconnected"),
        (CommandState::Cancelled, 409, "vehicle-offline"),
        (CommandState::Superseded, 409, "command-superseded"),
        (CommandState::NoAnswer, 504, "vehicle-no-answer"),
        (CommandState::Expired, 504, "command-expired"),
        (CommandState::Created, 500, "internal"),
        (CommandState::Sent, 503, "owner-unreachable"),
    ] {
        let found = problem(outcome(Action::Run, state));
        assert_eq!(found, (status, name.to_owned()), "{state:?}");
    }
    let (_, _, refused) = respond(outcome(Action::Rest, CommandState::Refused));
    assert_eq!(refused["reply"], "what it said");
    let (_, _, silent) = respond(outcome(Action::Run, CommandState::NoAnswer));
    assert_eq!(silent.get("reply"), None);
}

#[test]
fn the_detail_names_what_a_failed_command_leaves_behind() {
    let detail = |action, state| {
        let (_, _, body) = respond(outcome(action, state));
        body["detail"].as_str().unwrap().to_owned()
    };
    let goodbye = detail(Action::Goodbye, CommandState::NoAnswer);
    assert!(goodbye.contains("closed nevertheless"), "{goodbye}");
    for state in [
        CommandState::NoAnswer,
        CommandState::Disconnected,
        CommandState::Expired,
    ] {
        let frequency = detail(frequency(), state);
        assert!(frequency.contains("stored"), "{frequency}");
        let run = detail(Action::Run, state);
        assert!(!run.contains("stored") && !run.contains("closed"), "{run}");
    }
}

#[test]
fn a_request_without_a_command_is_a_problem_without_an_id() {
    for (outcome, status, name) in [
        (CommandOutcome::UnknownVehicle, 404, "unknown-vehicle"),
        (CommandOutcome::Offline, 409, "vehicle-offline"),
        (CommandOutcome::TooMany, 429, "too-many-commands"),
        (CommandOutcome::KeyReused, 422, "idempotency-key-reused"),
        (
            CommandOutcome::FanOutUnavailable,
            503,
            "fan-out-unavailable",
        ),
        (CommandOutcome::OwnerUnreachable, 503, "owner-unreachable"),
        (CommandOutcome::Moved, 503, "owner-unreachable"),
        (CommandOutcome::StoreUnavailable, 503, "store-unavailable"),
        (CommandOutcome::StoreFailed, 500, "internal"),
    ] {
        let problem = CommandResponse::try_from(outcome).unwrap_err();
        let body = serde_json::to_value(problem.details()).unwrap();
        assert_eq!(body["type"], format!("urn:vehicle-gateway:problem:{name}"));
        assert_eq!(body.get("commandId"), None);
        let response = problem.into_response();
        assert_eq!(response.status(), status);
        let retry = response.headers().contains_key(header::RETRY_AFTER);
        assert_eq!(retry, matches!(status, 429 | 503), "{name}");
    }
}

#[test]
fn an_offline_vehicle_is_disconnected_and_not_a_problem() {
    let of =
        |outcome| presence(outcome).map_err(|problem| problem.into_response().status().as_u16());
    let asked = |state| outcome(Action::AskState, state);
    assert_eq!(of(asked(CommandState::Done)), Ok(Presence::Connected));
    assert_eq!(
        of(asked(CommandState::Cancelled)),
        Ok(Presence::Disconnected)
    );
    assert_eq!(of(CommandOutcome::Offline), Ok(Presence::Disconnected));
    assert_eq!(of(CommandOutcome::UnknownVehicle), Err(404));
    assert_eq!(of(CommandOutcome::TooMany), Err(429));
    for (state, status) in [
        (CommandState::Disconnected, 409),
        (CommandState::Superseded, 409),
        (CommandState::NoAnswer, 504),
        (CommandState::Expired, 504),
        (CommandState::Queued, 500),
        (CommandState::Sent, 503),
    ] {
        assert_eq!(of(asked(state)), Err(status), "{state:?}");
    }
    assert_eq!(
        of(CommandOutcome::Desired {
            interval: interval()
        }),
        Err(500)
    );
}

#[test]
fn the_document_contains_every_outcome_of_a_command() {
    let document: Value = serde_json::from_str(&openapi()).unwrap();
    for path in [
        "turnOn",
        "turnOff",
        "turnOnOrOff",
        "frequency",
        "command",
        "disconnect",
    ] {
        let post = &document["paths"][format!("/service/{{deviceId}}/{path}")]["post"];
        let assert_known = |status: u16, body: &Value| {
            let content = &post["responses"][status.to_string()]["content"];
            if let Some(uri) = body["type"].as_str() {
                let name = uri.rsplit(':').next().unwrap();
                let examples = &content["application/problem+json"]["examples"];
                assert_eq!(examples[name]["value"]["type"], uri, "{path}");
            } else {
                assert!(content["application/json"].is_object(), "{path} {status}");
            }
        };
        for (action, state) in every_action().into_iter().flat_map(|action| {
            CommandState::VARIANTS
                .iter()
                .map(move |&state| (action, state))
        }) {
            let (status, _, body) = respond(outcome(action, state));
            assert_known(status, &body);
        }
        for outcome in [
            CommandOutcome::UnknownVehicle,
            CommandOutcome::Offline,
            CommandOutcome::TooMany,
            CommandOutcome::KeyReused,
            CommandOutcome::FanOutUnavailable,
            CommandOutcome::OwnerUnreachable,
            CommandOutcome::Moved,
            CommandOutcome::StoreUnavailable,
            CommandOutcome::StoreFailed,
        ] {
            let (status, _, body) = respond(outcome);
            assert_known(status, &body);
        }
    }
}
