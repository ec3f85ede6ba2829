//! Invariants 5 and 9: what webhooks tell is what happened, in the transaction in which it happened, and it arrives.
//!
//! Online and offline of a vehicle alternate, beginning with online, and are told where the row flips; sequences are 1, 2, 3
//! and so on in commit order; first deliveries are in order of sequence; every message is delivered, or its vehicle was
//! deleted after it.

use std::collections::{BTreeMap, BTreeSet};

use crate::history::checker::Violation;
use crate::history::checker::fault_windows::is_final;
use crate::history::checker::vehicle_history::{Message, Step, View};
use crate::history::record::{Delivery, History, Kind, MessageRow, Writer};

const ONLINE: &str = "vehicle.online";
const OFFLINE: &str = "vehicle.offline";
const BLOB: &str = "vehicle.debug_blob";
const COMMAND: &str = "vehicle.command";

pub(crate) fn check(history: &History, view: &View<'_>) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |invariant, at, what| {
        violations.push(Violation::new(invariant, view.device_id, at, what));
    };
    for (message, what) in wrong_turns(view) {
        wrong(5, Some(message.at), what);
    }
    for (step, what) in untold_flips(view) {
        wrong(5, Some(step.at), what);
    }
    let mut ids = BTreeSet::new();
    for (place, message) in view.messages.iter().enumerate() {
        let (
            Message {
                at, id, sequence, ..
            },
            expected,
        ) = (*message, place + 1);
        if usize::try_from(sequence) != Ok(expected) {
            let what = format!("message {id} has sequence {sequence}, and {expected} was next");
            wrong(9, Some(at), what);
        }
        if !ids.insert(id) {
            wrong(9, Some(at), format!("message {id} is there twice"));
        }
    }
    for what in wrong_numbers(view) {
        wrong(9, None, what);
    }
    let deliveries: Vec<&Delivery> = history
        .deliveries
        .iter()
        .filter(|delivery| delivery.device_id == view.device_id)
        .collect();
    for what in wrong_deliveries(view, &deliveries) {
        wrong(9, None, what);
    }
    let rows: BTreeMap<&str, &MessageRow> = history
        .messages
        .iter()
        .map(|row| (row.id.as_str(), row))
        .collect();
    for (message, what) in wrong_ends(view, &rows, &deliveries) {
        wrong(9, Some(message.at), what);
    }
    violations
}

fn presence<'v>(view: &'v View<'_>) -> impl Iterator<Item = Message<'v>> {
    let messages = view.messages.iter().copied();
    messages.filter(|message| matches!(message.kind, ONLINE | OFFLINE))
}

/// Messages that a vehicle came or went that are out of turn, or without that it did.
fn wrong_turns<'v>(view: &'v View<'_>) -> Vec<(Message<'v>, String)> {
    let mut wrong = Vec::new();
    let mut online = false;
    for message in presence(view) {
        let is_online = message.kind == ONLINE;
        if is_online == online {
            let what = format!("message {} says {} again", message.id, message.kind);
            wrong.push((message, what));
        }
        online = is_online;
        let mut changes = view.changes();
        let change = changes.find(|(_, step)| step.writer == message.writer);
        // A batch may hold that a vehicle came and went: the row shows that there was a login, or that it was deleted.
        let happened = change.is_some_and(|(before, step)| {
            let after = step.session;
            before.online != after.online || before.epoch < after.epoch || step.deletes
        });
        if !happened {
            let what = format!(
                "message {} says {}, which was not",
                message.id, message.kind
            );
            wrong.push((message, what));
        }
    }
    wrong
}

/// Batches after which a row says something else than the messages.
fn untold_flips<'v>(view: &'v View<'_>) -> Vec<(Step<'v>, String)> {
    let mut wrong = Vec::new();
    let mut last_said: BTreeMap<(&str, i64), &str> = BTreeMap::new();
    for message in presence(view) {
        last_said.insert(key(message.writer), message.kind);
    }
    for (before, step) in view.changes() {
        let said = last_said.get(&key(step.writer)).copied();
        let is_right = match said {
            Some(kind) => (kind == ONLINE) == step.session.online,
            None => before.online == step.session.online,
        };
        if !is_right {
            let what = format!(
                "online became {}, and {said:?} was told",
                step.session.online
            );
            wrong.push((step, what));
        }
    }
    wrong
}

fn key(writer: &Writer) -> (&str, i64) {
    (&writer.instance, writer.batch)
}

/// Batches that tell of more or fewer debug blobs and ends of commands than they hold.
fn wrong_numbers(view: &View<'_>) -> Vec<String> {
    let mut counts: BTreeMap<(&str, (&str, i64)), [usize; 2]> = BTreeMap::new();
    let mut count = |kind, writer, which: usize| {
        counts.entry((kind, key(writer))).or_default()[which] += 1;
    };
    for stored in view
        .stored
        .iter()
        .filter(|stored| stored.kind == Kind::Blob)
    {
        count(BLOB, stored.writer, 0);
    }
    for step in view.moves.iter().filter(|step| is_final(step.state)) {
        count(COMMAND, step.writer, 0);
    }
    for message in &view.messages {
        if matches!(message.kind, BLOB | COMMAND) {
            count(message.kind, message.writer, 1);
        }
    }
    let wrong = counts.iter().filter(|(_, [held, told])| held != told);
    wrong
        .map(|((kind, (instance, batch)), [held, told])| {
            format!("batch {batch} of {instance} holds {held} of {kind}, and tells of {told}")
        })
        .collect()
}

/// What came that was not stored so, and what came in the wrong order.
fn wrong_deliveries(view: &View<'_>, deliveries: &[&Delivery]) -> Vec<String> {
    let stored: BTreeMap<&str, &Message<'_>> = view
        .messages
        .iter()
        .map(|message| (message.id, message))
        .collect();
    let mut wrong = Vec::new();
    let mut first: BTreeMap<&str, &Delivery> = BTreeMap::new();
    let mut newest = 0;
    for &delivery in deliveries {
        let Delivery {
            id, sequence, kind, ..
        } = delivery;
        let is_stored = stored
            .get(id.as_str())
            .is_some_and(|message| (message.sequence, message.kind) == (*sequence, kind.as_str()));
        if !is_stored {
            wrong.push(format!(
                "message {id}, {kind} {sequence}, came and is not stored"
            ));
        }
        if let Some(first) = first.get(id.as_str()) {
            if first.body != delivery.body {
                wrong.push(format!("message {id} came with two bodies"));
            }
            continue;
        }
        first.insert(id, delivery);
        if *sequence < newest {
            wrong.push(format!("message {sequence} came first after {newest}"));
        }
        newest = newest.max(*sequence);
    }
    wrong
}

/// Messages that are neither delivered nor dropped with their vehicle.
fn wrong_ends<'v>(
    view: &'v View<'_>,
    rows: &BTreeMap<&str, &MessageRow>,
    deliveries: &[&Delivery],
) -> Vec<(Message<'v>, String)> {
    let delivered: BTreeMap<&str, &Delivery> = deliveries
        .iter()
        .map(|delivery| (delivery.id.as_str(), *delivery))
        .collect();
    let last_deletion = view.deletions().next_back().map(|step| step.place);
    let mut wrong = Vec::new();
    for &message in &view.messages {
        // The row of the vehicle is written before what is told.
        if last_deletion.is_some_and(|place| message.place < place) {
            continue;
        }
        let id = message.id;
        let what = match (rows.get(id), delivered.get(id)) {
            (_, None) => format!("message {id} never came"),
            (None, _) => format!("message {id} is gone"),
            (Some(row), _) if row.state != MessageRow::DELIVERED => {
                format!("message {id} came and its state is {}", row.state)
            }
            (Some(row), Some(delivery)) if row.body != delivery.body => {
                format!("message {id} came with another body than it has")
            }
            _ => continue,
        };
        wrong.push((message, what));
    }
    wrong
}

mod tests {
    use crate::history::checker::timeline::{Story, faults_of, held};
    use crate::history::record::{Change, Kind, Wish};

    /// It comes and goes, dumps, is asked something, is deleted, and comes back: messages 1 to 7.
    fn story() -> Story {
        let mut story = Story::new();
        story.log_in(0, 1).dumps(0, 1);
        story.stored_as(Kind::Blob, "A", 1, 1).thanked(0, 1);
        story.asked("a", "HEY YOU, RUN!", "cancelled");
        story.leaves(0).goes_offline("A", "goodbye");
        story.log_in(1, 2).is_deleted().leaves(1);
        story.wished(Wish::Delete, 204, "").log_in(2, 3);
        story
    }

    #[test]
    fn what_happened_and_is_told_in_order_is_well_also_twice_and_what_was_dropped_is_not_missed() {
        let mut story = story();
        let again = story.history.deliveries[6].clone();
        story.history.deliveries.push(again);
        story.history.deliveries.remove(3);
        story.history.messages.remove(3);
        assert_eq!(story.violations(), []);
    }

    #[test]
    fn a_vehicle_that_comes_and_goes_within_a_batch_is_told_of_so() {
        let mut story = Story::new();
        story.hello(0).step("A", held("A", 0, 1));
        story.hello(1).leaves(1);
        // In the batch of the login that is over at once.
        let mut gone = held("A", 1, 2);
        gone.instance = None;
        gone.online = false;
        story.goes_offline("A", "goodbye");
        gone.epoch = 2;
        story.step("A", gone);
        story
            .tells("A", "vehicle.online")
            .tells("A", "vehicle.offline");
        story.leaves(0).log_in(2, 3);
        assert_eq!(faults_of(&story, 5), [""; 0]);
        assert_eq!(faults_of(&story, 9), [""; 0]);
    }

    #[test]
    fn a_flip_that_is_not_told_is_found_and_so_is_what_is_told_and_was_not() {
        let mut story = Story::new();
        story
            .log_in(0, 1)
            .leaves(0)
            .goes_offline("A", "goodbye")
            .untold();
        story.log_in(1, 2);
        assert_eq!(
            faults_of(&story, 5),
            [
                "online became false, and None was told",
                "message m2 says vehicle.online again",
            ]
        );
        let mut story = Story::new();
        story.log_in(0, 1).report(0, 1).stored(1, 1);
        story
            .tells("A", "vehicle.offline")
            .tells("A", "vehicle.online");
        assert_eq!(
            faults_of(&story, 5),
            [
                "message m2 says vehicle.offline, which was not",
                "message m3 says vehicle.online, which was not",
            ]
        );
    }

    #[test]
    fn what_is_told_in_another_batch_is_found() {
        let mut story = Story::new();
        story
            .log_in(0, 1)
            .leaves(0)
            .goes_offline("A", "goodbye")
            .untold();
        story
            .report(0, 1)
            .stored(1, 1)
            .tells("A", "vehicle.offline");
        story.log_in(1, 2);
        assert_eq!(
            faults_of(&story, 5),
            [
                "online became false, and None was told",
                "message m2 says vehicle.offline, which was not",
            ]
        );
    }

    #[test]
    fn a_blob_and_the_end_of_a_command_that_are_not_told_are_found() {
        let mut story = Story::new();
        story.log_in(0, 1).dumps(0, 1);
        story.stored_as(Kind::Blob, "A", 1, 1).untold();
        story.asked("a", "HEY YOU, RUN!", "cancelled").untold();
        assert_eq!(faults_of(&story, 9).len(), 2);
    }

    #[test]
    fn sequences_with_a_gap_are_found_and_deliveries_in_the_wrong_order() {
        let mut story = story();
        story
            .log_in(3, 4)
            .log_in(4, 5)
            .goes_offline("A", "goodbye")
            .leaves(4);
        story.history.deliveries.swap(0, 1);
        assert_eq!(faults_of(&story, 9), ["message 1 came first after 2"]);
        for audit in &mut story.history.audit {
            if let Change::Message { sequence, .. } = &mut audit.change
                && *sequence == 2
            {
                *sequence = 3;
            }
        }
        let found = faults_of(&story, 9);
        assert!(found.contains(&"message m2 has sequence 3, and 2 was next".to_owned()));
    }

    #[test]
    fn a_message_that_does_not_come_is_found_and_one_that_nobody_wrote() {
        let mut story = story();
        let lost = story.history.deliveries.pop().unwrap();
        assert_eq!(faults_of(&story, 9), ["message m7 never came"]);
        story.history.deliveries.push(lost);
        story.history.deliveries[6].id = "m9".to_owned();
        assert_eq!(faults_of(&story, 9).len(), 2);
        let mut story = self::story();
        story.history.messages[6].state = 0;
        assert_eq!(faults_of(&story, 9), ["message m7 came and its state is 0"]);
        story.history.messages[6].state = 1;
        story.history.messages[6].body.clear();
        assert_eq!(
            faults_of(&story, 9),
            ["message m7 came with another body than it has"]
        );
    }
}
