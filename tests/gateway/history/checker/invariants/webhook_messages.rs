//! Webhook messages: each stored debug blob and each end of a command makes one message in its own batch, and the
//! messages of a vehicle are numbered 1, 2, 3 and so on in commit order. (`presence_events` checks the messages about
//! presence.)

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::history::{
    checker::{command_model::is_end_state, vehicle_history::VehicleHistory},
    record::{BatchId, StoredKind},
};

const BLOB: &str = "vehicle.debug_blob";
const COMMAND: &str = "vehicle.command";

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut ids = BTreeSet::new();
    for (index, message) in vehicle.message_changes.iter().enumerate() {
        let (id, sequence, expected) = (message.id, message.sequence, index + 1);
        if usize::try_from(sequence) != Ok(expected) {
            let what = format!("message {id} has sequence {sequence}, and {expected} was next");
            findings.push(Finding::new(message.at, what));
        }
        if !ids.insert(id) {
            findings.push(Finding::new(
                message.at,
                format!("message {id} is stored twice"),
            ));
        }
    }
    findings.extend(wrong_counts(vehicle));
    findings
}

/// How many changes a batch holds, and how many messages about them.
#[derive(Default, Clone, Copy)]
struct Counts {
    changes: usize,
    messages: usize,
}

/// Batches that hold more or fewer messages than debug blobs and ends of commands.
fn wrong_counts(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut counts: BTreeMap<(&str, &BatchId), Counts> = BTreeMap::new();
    for stored in &vehicle.stored_changes {
        if stored.kind == StoredKind::Blob {
            counts.entry((BLOB, stored.batch)).or_default().changes += 1;
        }
    }
    for change in &vehicle.command_changes {
        if is_end_state(change.state) {
            counts.entry((COMMAND, change.batch)).or_default().changes += 1;
        }
    }
    for message in &vehicle.message_changes {
        if matches!(message.kind, BLOB | COMMAND) {
            let key = (message.kind, message.batch);
            counts.entry(key).or_default().messages += 1;
        }
    }
    let wrong = counts
        .into_iter()
        .filter(|(_, counts)| counts.changes != counts.messages);
    wrong
        .map(|((kind, batch), Counts { changes, messages })| {
            let BatchId {
                incarnation,
                number,
            } = batch;
            let what = format!(
                "batch {number} of {incarnation} holds {changes} changes of {kind} and {messages} messages"
            );
            Finding::new(None, what)
        })
        .collect()
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::{Change, StoredKind},
    };

    #[test]
    fn a_change_without_a_message_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_blob(0, 1);
        timeline
            .store_in_batch(StoredKind::Blob, "A", 1, 1)
            .retract_message();
        timeline
            .create_command("a", "HEY YOU, RUN!", "cancelled")
            .retract_message();
        assert_eq!(
            findings(&timeline, Invariant::WebhookMessages),
            [
                "batch 4 of A holds 1 changes of vehicle.command and 0 messages",
                "batch 3 of A holds 1 changes of vehicle.debug_blob and 0 messages",
            ]
        );
    }

    #[test]
    fn a_message_without_a_change_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).publish("A", "vehicle.command");
        assert_eq!(
            findings(&timeline, Invariant::WebhookMessages),
            ["batch 3 of A holds 0 changes of vehicle.command and 1 messages"]
        );
    }

    #[test]
    fn a_gap_in_the_sequence_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0);
        timeline.go_offline("A", "goodbye").log_in(1, 2);
        for entry in &mut timeline.history.audit {
            if let Change::Message { sequence, .. } = &mut entry.change
                && *sequence == 2
            {
                *sequence = 3;
            }
        }
        assert_eq!(
            findings(&timeline, Invariant::WebhookMessages),
            ["message m2 has sequence 3, and 2 was next"]
        );
    }

    #[test]
    fn an_id_that_is_used_twice_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).disconnect(0);
        timeline.go_offline("A", "goodbye").log_in(1, 2);
        for entry in &mut timeline.history.audit {
            if let Change::Message { id, .. } = &mut entry.change {
                "m1".clone_into(id);
            }
        }
        assert_eq!(
            findings(&timeline, Invariant::WebhookMessages),
            ["message m1 is stored twice", "message m1 is stored twice",]
        );
    }
}
