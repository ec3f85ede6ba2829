//! Command responses: the HTTP response to a command request is the end state of its command, and a command whose
//! request got a 503 is not written to its device later.

use super::Finding;
use crate::history::{
    checker::{
        command_matching::{MatchedCommands, match_commands},
        tolerances::READ_DELAY,
        vehicle_history::VehicleHistory,
    },
    record::{CommandRequest, HttpResult},
};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let matched = match_commands(vehicle);
    let requests = vehicle.command_requests();
    requests
        .filter(|request| !request.result.is_from_balancer())
        .filter_map(|request| {
            let what = wrong_response(vehicle, &matched, request)?;
            let what = format!("{what}, of {:?}", request.result);
            Some(Finding::new(request.until, what))
        })
        .collect()
}

fn wrong_response(
    vehicle: &VehicleHistory<'_>,
    matched: &MatchedCommands,
    request: &CommandRequest,
) -> Option<String> {
    let HttpResult::Response {
        status,
        name,
        command_id,
        reply,
    } = &request.result
    else {
        return None;
    };
    let Some(id) = command_id else {
        return wrong_response_without_command(vehicle, request, *status, name);
    };
    let Some(row) = vehicle.command_rows.get(id.as_str()) else {
        return Some(format!("there is no command {id}"));
    };
    let is_interval = |sentence: &str| sentence.starts_with("KEEP ME POSTED ");
    // The value of an interval is taken when the command is claimed.
    if row.sentence != request.sentence
        && !(is_interval(&row.sentence) && is_interval(&request.sentence))
    {
        return Some(format!("{id} has the sentence {:?}", row.sentence));
    }
    let state = row.state.as_str();
    let mut changes = vehicle
        .command_changes
        .iter()
        .filter(|change| change.id == id);
    let is_right = match (*status, name.as_str()) {
        (200, "done") => {
            let end = changes.find(|change| change.state == "done");
            if end.is_some_and(|end| end.committed_after > request.until) {
                return Some(format!("{id} was not committed as done by then"));
            }
            state == "done" && row.reply == *reply
        }
        // A command that was queued and superseded in one batch has no entry as queued.
        (202, "queued") => state == "superseded" || changes.any(|change| change.state == "queued"),
        (202, "desired") => {
            is_interval(&row.sentence) && matches!(state, "superseded" | "cancelled")
        }
        (409, "vehicle-refused") => state == "refused",
        (409, "vehicle-disconnected") => state == "disconnected",
        (409, "command-superseded") => state == "superseded",
        (409, "vehicle-offline") => state == "cancelled",
        (504, "vehicle-no-answer") => state == "no-answer",
        (504, "command-expired") => state == "expired",
        (503, "fan-out-unavailable") => {
            matches!(state, "expired" | "cancelled" | "superseded")
        }
        // A command that was claimed may still come to any end, but is not written any more.
        (503, "store-unavailable" | "request-timeout" | "owner-unreachable") => {
            let received = matched.received.get(id);
            if received
                .is_some_and(|received| !received.late && received.at > request.until + READ_DELAY)
            {
                return Some(format!("{id} was received after the response"));
            }
            true
        }
        _ => return Some("no command has this response".to_owned()),
    };
    (!is_right).then(|| format!("{id} is {state} with reply {:?}", row.reply))
}

/// Judges a response that names no command.
fn wrong_response_without_command(
    vehicle: &VehicleHistory<'_>,
    request: &CommandRequest,
    status: u16,
    name: &str,
) -> Option<String> {
    let is_fetch = request.sentence == "HOW'S IT GOING?";
    match (status, name) {
        (200, "CONNECTED" | "DISCONNECTED") if is_fetch => None,
        (202, "desired")
        | (409, "vehicle-offline")
        | (
            503,
            "store-unavailable" | "request-timeout" | "owner-unreachable" | "fan-out-unavailable",
        ) => None,
        (404, "unknown-vehicle") => vehicle
            .existed(request.from, request.until)
            .then(|| "the vehicle existed".to_owned()),
        _ => Some("no response without a command is like this".to_owned()),
    }
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::Change,
    };

    const RUN: &str = "HEY YOU, RUN!";

    fn timeline() -> Timeline {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        timeline
    }

    #[test]
    fn responses_that_are_the_end_state_hold() {
        let mut timeline = timeline();
        timeline.run_command("a", 0, 0);
        timeline
            .create_command("b", RUN, "sent")
            .receive_command(0, RUN)
            .set_command_state("b", "no-answer");
        timeline.respond(RUN, 504, "vehicle-no-answer", Some("b"));
        timeline
            .create_command("c", RUN, "created")
            .set_command_state("c", "expired");
        timeline.respond(RUN, 504, "command-expired", Some("c"));
        timeline
            .create_command("d", RUN, "queued")
            .respond(RUN, 202, "queued", Some("d"));
        timeline.set_command_state("d", "superseded");
        timeline.respond_with_key(Some("key"), RUN, 409, "vehicle-offline", None);
        timeline
            .create_command("e", RUN, "created")
            .set_command_state("e", "cancelled");
        timeline.respond_with_key(Some("key"), RUN, 409, "vehicle-offline", Some("e"));
        timeline.respond_with_key(Some("key"), RUN, 409, "vehicle-offline", Some("e"));
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_response_that_is_not_the_end_state_violates() {
        let mut timeline = timeline();
        timeline
            .create_command("a", RUN, "sent")
            .receive_command(0, RUN)
            .set_command_state("a", "no-answer");
        for (status, name) in [
            (200, "done"),
            (202, "queued"),
            (202, "desired"),
            (409, "vehicle-refused"),
            (409, "vehicle-disconnected"),
            (409, "vehicle-offline"),
            (504, "command-expired"),
            (503, "fan-out-unavailable"),
            (500, "internal"),
        ] {
            timeline.respond_with_key(Some("key"), RUN, status, name, Some("a"));
        }
        assert_eq!(findings(&timeline, Invariant::CommandResponses).len(), 9);
    }

    #[test]
    fn a_command_that_is_received_after_its_503_violates() {
        let mut timeline = timeline();
        timeline
            .create_command("a", RUN, "sent")
            .respond(RUN, 503, "store-unavailable", Some("a"));
        timeline
            .wait(500)
            .receive_command(0, RUN)
            .set_command_state("a", "disconnected");
        let found = findings(&timeline, Invariant::CommandResponses);
        assert!(
            found[0].starts_with("a was received after the response"),
            "{found:?}"
        );
    }

    #[test]
    fn a_response_before_the_commit_violates() {
        let mut timeline = timeline();
        timeline.run_command("a", 0, 0);
        for entry in &mut timeline.history.audit {
            if let Change::Command { .. } = entry.change {
                entry.committed_after += 50;
            }
        }
        let found = findings(&timeline, Invariant::CommandResponses);
        assert!(
            found[0].starts_with("a was not committed as done by then"),
            "{found:?}"
        );
    }

    #[test]
    fn a_response_about_another_command_violates() {
        let mut timeline = timeline();
        timeline
            .create_command("a", "HEY YOU, REST!", "cancelled")
            .respond(RUN, 409, "vehicle-offline", Some("a"));
        let found = findings(&timeline, Invariant::CommandResponses);
        assert!(
            found[0].starts_with("a has the sentence \"HEY YOU, REST!\""),
            "{found:?}"
        );
    }

    #[test]
    fn a_response_that_the_route_does_not_have_violates() {
        let mut timeline = timeline();
        timeline.respond(RUN, 422, "idempotency-key-reused", None);
        timeline.respond(RUN, 200, "CONNECTED", None);
        timeline
            .wait(20_000)
            .respond(RUN, 404, "unknown-vehicle", None);
        timeline.respond(RUN, 409, "vehicle-offline", Some("x"));
        assert_eq!(findings(&timeline, Invariant::CommandResponses).len(), 4);
    }
}
