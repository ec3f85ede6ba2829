//! Command lifecycle: a command is written to a device at most once, after its state `sent` was committed and before it
//! expires; it takes only the transitions of its state machine, and exactly one end state.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::history::{
    checker::{
        command_matching::{MatchedCommands, match_commands},
        command_model::is_end_state,
        tolerances::TRANSIT_DELAY,
        vehicle_history::VehicleHistory,
    },
    record::{CommandRow, Moment},
};

/// How much later than its expiry the sweep may end a queued command, in milliseconds.
const SWEEP_DELAY: Moment = 5_000;

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let matched = match_commands(vehicle);
    let mut findings: Vec<Finding> = matched
        .unmatched
        .iter()
        .map(|received| {
            let what = format!(
                "connection {} received {:?}, which no row accounts for",
                received.connection, received.sentence
            );
            Finding::new(received.at, what)
        })
        .collect();
    for row in vehicle.command_rows.values() {
        let wrong = wrong_row(vehicle.run.end, row, &matched).into_iter();
        findings.extend(wrong.map(|what| Finding::new(row.created_at, what)));
    }
    findings.extend(wrong_transitions(vehicle));
    findings.extend(received_too_early(vehicle, &matched));
    findings
}

/// Finds what contradicts a command's row: its reception, and its own columns.
fn wrong_row(end: Moment, row: &CommandRow, matched: &MatchedCommands) -> Vec<String> {
    let CommandRow { id, state, .. } = row;
    let mut wrong = Vec::new();
    if let Some(received) = matched.received.get(id) {
        if !received.late && received.at > row.expires_at + TRANSIT_DELAY {
            let late = received.at - row.expires_at;
            wrong.push(format!("{id} was received {late} ms after it expired"));
        }
        if matches!(
            state.as_str(),
            "expired" | "superseded" | "cancelled" | "created" | "queued"
        ) {
            let at = received.at;
            wrong.push(format!("{id} is {state}, and was received at {at}"));
        }
    }
    let may_wait = state == "queued" && row.expires_at + SWEEP_DELAY > end;
    if !is_end_state(state) && !may_wait {
        wrong.push(format!("{id} is {state} at the end of the run"));
    }
    if is_end_state(state) != row.finished_at.is_some() {
        let at = row.finished_at;
        wrong.push(format!("{id} is {state} and finished at {at:?}"));
    }
    let is_sent = match state.as_str() {
        "done" | "refused" | "no-answer" | "disconnected" | "sent" => true,
        "superseded" | "cancelled" | "created" | "queued" => false,
        // A command may expire between its claim and its write.
        _ => row.sent_at.is_some(),
    };
    if is_sent != row.sent_at.is_some() {
        let at = row.sent_at;
        wrong.push(format!("{id} is {state} and was sent at {at:?}"));
    }
    wrong
}

fn wrong_transitions(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut states: BTreeMap<&str, &str> = BTreeMap::new();
    for change in &vehicle.command_changes {
        let before = states.insert(change.id, change.state).unwrap_or("new");
        let is_allowed = match (before, change.state) {
            ("new", _) | ("created", "queued") => true,
            ("created" | "queued", after) => after != "created" && after != "queued",
            ("sent", after) => is_end_state(after) && !matches!(after, "superseded" | "cancelled"),
            _ => false,
        };
        if !is_allowed {
            let row = vehicle.command_rows.get(change.id);
            let what = format!("{} went from {before} to {}", change.id, change.state);
            findings.push(Finding::new(row.map_or(0, |row| row.created_at), what));
        }
    }
    findings
}

/// Finds commands that were received before their state `sent` was committed. One that was sent and ended in one batch
/// counts as sent by then.
fn received_too_early(vehicle: &VehicleHistory<'_>, matched: &MatchedCommands) -> Vec<Finding> {
    let sent = vehicle.command_changes.iter().filter(|change| change.sent);
    let mut findings = Vec::new();
    let mut known = BTreeSet::new();
    for change in sent.filter(|change| known.insert(change.id)) {
        if let Some(received) = matched.received.get(change.id)
            && received.at < change.committed_after
        {
            let id = change.id;
            let what = format!("{id} was received before it was committed as sent");
            findings.push(Finding::new(received.at, what));
        }
    }
    findings
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
    fn a_command_that_is_received_after_it_expired_violates() {
        let mut timeline = timeline();
        timeline
            .create_command("a", RUN, "sent")
            .wait(4_000)
            .receive_command(0, RUN);
        timeline.set_command_state("a", "disconnected");
        assert_eq!(
            findings(&timeline, Invariant::CommandLifecycle),
            ["a was received 2020 ms after it expired"]
        );
    }

    #[test]
    fn a_command_that_ended_unsent_and_is_received_violates() {
        let mut timeline = timeline();
        timeline
            .create_command("a", RUN, "sent")
            .set_command_state("a", "expired");
        timeline
            .respond(RUN, 504, "command-expired", Some("a"))
            .receive_command(0, RUN);
        assert_eq!(
            findings(&timeline, Invariant::CommandLifecycle),
            ["a is expired, and was received at 90"]
        );
    }

    #[test]
    fn a_command_with_no_end_state_or_two_violates() {
        let mut timeline = timeline();
        timeline.create_command("a", RUN, "created");
        timeline
            .create_command("b", RUN, "sent")
            .set_command_state("b", "no-answer");
        timeline.end_command("b", "done", "DONE!");
        timeline
            .create_command("c", RUN, "sent")
            .set_command_state("c", "cancelled");
        timeline
            .create_command("d", RUN, "created")
            .set_command_state("d", "done");
        timeline.create_command("e", RUN, "queued").wait(7_100);
        assert_eq!(
            findings(&timeline, Invariant::CommandLifecycle),
            [
                "a is created at the end of the run",
                "b went from no-answer to done",
                "c is cancelled and was sent at Some(110)",
                "c went from sent to cancelled",
                "d is done and was sent at None",
                "e is queued at the end of the run",
            ]
        );
    }

    #[test]
    fn a_command_that_is_received_before_its_commit_violates() {
        let mut timeline = timeline();
        timeline.run_command("a", 0, 0);
        for entry in &mut timeline.history.audit {
            if let Change::Command { .. } = entry.change {
                entry.committed_after += 50;
            }
        }
        assert_eq!(
            findings(&timeline, Invariant::CommandLifecycle),
            ["a was received before it was committed as sent"]
        );
    }
}
