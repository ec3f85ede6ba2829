//! Deletion: a vehicle is deleted if and only if a client asked for it, the responses say so, and the vehicle's open
//! commands end in the same batch. (That its epochs go on, and that nothing more is stored for the session from before,
//! is checked with the epochs and the fenced writes.)

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{
    checker::{
        command_model::is_end_state,
        tolerances::{COMMIT_DELAY, READ_DELAY},
        vehicle_history::{SessionChange, VehicleHistory},
    },
    record::{HttpResult, VehicleAction, VehicleRequest},
};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let requests: Vec<&VehicleRequest> = vehicle
        .requests()
        .filter(|request| request.action == VehicleAction::Delete)
        .collect();
    for deletion in vehicle.deletions() {
        // A request that its client gave up may still be carried out.
        let is_requested = requests
            .iter()
            .any(|request| request.from <= deletion.at + READ_DELAY);
        if !is_requested {
            let what = "it was deleted, and no client asked for it".to_owned();
            findings.push(Finding::new(deletion.at, what));
        }
        for what in open_commands(vehicle, &deletion) {
            findings.push(Finding::new(deletion.at, what));
        }
    }
    let deleted = vehicle.deletions().count();
    let count = |status| {
        let requests = requests.iter();
        requests
            .filter(|request| has_status(request, status))
            .count()
    };
    let (confirmed, unknown) = (count(204), count(404));
    if !(confirmed..=requests.len() - unknown).contains(&deleted) {
        let what = format!(
            "it was deleted {deleted} times: {} requests, {confirmed} got 204, {unknown} got 404",
            requests.len()
        );
        findings.push(Finding::new(vehicle.run.end, what));
    }
    for request in requests {
        if has_status(request, 204) && !is_done(vehicle, request) {
            let what = "a request to delete it got 204, and it was not deleted".to_owned();
            findings.push(Finding::new(request.until, what));
        }
    }
    findings
}

fn has_status(request: &VehicleRequest, expected: u16) -> bool {
    matches!(request.result, HttpResult::Response { status, .. } if status == expected)
}

fn is_done(vehicle: &VehicleHistory<'_>, request: &VehicleRequest) -> bool {
    let when = request.from - COMMIT_DELAY..=request.until + READ_DELAY;
    vehicle
        .deletions()
        .any(|deletion| when.contains(&deletion.at))
}

/// Commands that are still open after the batch of a deletion.
fn open_commands(vehicle: &VehicleHistory<'_>, deletion: &SessionChange<'_>) -> Vec<String> {
    let mut states: BTreeMap<&str, &str> = BTreeMap::new();
    for change in &vehicle.command_changes {
        let is_of_batch = change.batch == deletion.batch;
        // A command that this batch created belongs to the vehicle that was created again.
        if change.position < deletion.position && !is_of_batch
            || is_of_batch && states.contains_key(change.id)
        {
            states.insert(change.id, change.state);
        }
    }
    let open = states.into_iter().filter(|(_, state)| !is_end_state(state));
    open.map(|(id, state)| format!("{id} was {state} and its vehicle was deleted"))
        .collect()
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings, held},
        },
        record::VehicleAction,
    };

    const RUN: &str = "HEY YOU, RUN!";

    #[test]
    fn a_vehicle_that_is_deleted_and_returns_holds() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .send_report(0, 1)
            .store_report(1, 1)
            .acknowledge(0, 1);
        timeline.create_command("a", RUN, "queued");
        timeline
            .delete()
            .set_command_state_in_batch("B", "a", "cancelled");
        timeline
            .respond_to_action(VehicleAction::Delete, 204, "")
            .disconnect(0)
            .purge();
        timeline.respond(RUN, 404, "unknown-vehicle", None);
        timeline.respond_with_key(Some("key"), RUN, 409, "vehicle-offline", Some("a"));
        timeline.respond_to_action(VehicleAction::Delete, 404, "unknown-vehicle");
        timeline.log_in(1, 2).create_command("b", RUN, "cancelled");
        timeline.respond_with_key(Some("key"), RUN, 409, "vehicle-offline", Some("b"));
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_deletion_that_leaves_a_command_open_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).create_command("a", RUN, "queued");
        timeline
            .delete()
            .respond_to_action(VehicleAction::Delete, 204, "")
            .disconnect(0);
        timeline
            .log_in(1, 2)
            .set_command_state("a", "sent")
            .receive_command(1, RUN);
        timeline.set_command_state("a", "disconnected");
        assert_eq!(
            findings(&timeline, Invariant::Deletion),
            ["a was queued and its vehicle was deleted"]
        );
    }

    #[test]
    fn a_deletion_without_a_request_or_the_reverse_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0).delete().log_in(1, 2);
        assert_eq!(findings(&timeline, Invariant::Deletion).len(), 2);
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .respond_to_action(VehicleAction::Delete, 204, "");
        assert_eq!(findings(&timeline, Invariant::Deletion).len(), 2);
    }

    #[test]
    fn a_deletion_and_a_login_in_one_batch_hold() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_hello(1);
        let mut recreated = held("B", 1, 2);
        recreated.forget_through = Some(90);
        timeline
            .write_session("B", recreated)
            .publish("B", "vehicle.offline");
        timeline
            .publish("B", "vehicle.online")
            .disconnect(0)
            .receive_greeting(1);
        timeline.respond_to_action(VehicleAction::Delete, 204, "");
        timeline
            .send_report(1, 1)
            .store_report_by("B", 1, 2)
            .acknowledge(1, 1);
        assert_eq!(timeline.violations(), []);
    }
}
