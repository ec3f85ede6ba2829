//! Queued commands: a queued command is never written to its device after a newer one of its kind exists.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::history::{
    checker::{command_model::reply_kind, vehicle_history::VehicleHistory},
    record::BatchId,
};

/// A queued command.
struct QueuedCommand<'a> {
    queued_by: &'a BatchId,
    /// The first command of its kind that was created after it.
    newer: Option<&'a str>,
}

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut queue: BTreeMap<&str, QueuedCommand<'_>> = BTreeMap::new();
    let mut known = BTreeSet::new();
    for change in &vehicle.command_changes {
        if known.insert(change.id) {
            for (id, queued) in &mut queue {
                let row = vehicle.command_rows.get(id);
                let is_of_kind =
                    row.is_some_and(|row| reply_kind(&row.sentence) == reply_kind(change.sentence));
                // Entries do not show which of two commands of one batch was first.
                if is_of_kind && queued.queued_by != change.batch {
                    queued.newer.get_or_insert(change.id);
                }
            }
        }
        if change.state == "queued" {
            let queued = QueuedCommand {
                queued_by: change.batch,
                newer: None,
            };
            queue.insert(change.id, queued);
        } else if let Some(QueuedCommand {
            newer: Some(newer), ..
        }) = queue.remove(change.id)
            && change.sent
        {
            let row = vehicle.command_rows.get(change.id);
            let what = format!("{} was queued and sent, and {newer} is newer", change.id);
            findings.push(Finding::new(row.and_then(|row| row.sent_at), what));
        }
    }
    findings
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    const RUN: &str = "HEY YOU, RUN!";
    const REST: &str = "HEY YOU, REST!";

    #[test]
    fn a_superseded_command_and_one_of_another_kind_hold() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .go_offline("A", "goodbye");
        timeline
            .create_command("a", RUN, "queued")
            .create_command("b", REST, "queued")
            .set_command_state("a", "superseded");
        timeline.create_command("c", "HOW'S IT GOING?", "queued");
        timeline
            .log_in(1, 2)
            .set_command_state("b", "sent")
            .receive_command(1, REST)
            .set_command_state("b", "no-answer");
        timeline.set_command_state("c", "expired");
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn a_queued_command_written_after_a_newer_one_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .go_offline("A", "goodbye");
        timeline.create_command("a", RUN, "queued").log_in(1, 2);
        timeline
            .create_command("b", REST, "sent")
            .receive_command(1, REST)
            .set_command_state("b", "no-answer");
        timeline
            .set_command_state("a", "sent")
            .receive_command(1, RUN)
            .set_command_state("a", "no-answer");
        assert_eq!(
            findings(&timeline, Invariant::QueuedCommands),
            ["a was queued and sent, and b is newer"]
        );
    }
}
