//! Presence events: online and offline messages of a vehicle alternate, beginning with online, and the last one of a
//! batch says what the row has after that batch.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{
    checker::vehicle_history::{MessageChange, VehicleHistory},
    record::BatchId,
};

const ONLINE: &str = "vehicle.online";
const OFFLINE: &str = "vehicle.offline";

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = wrong_messages(vehicle);
    findings.extend(wrong_batches(vehicle));
    findings
}

fn presence_messages<'v>(
    vehicle: &'v VehicleHistory<'_>,
) -> impl Iterator<Item = MessageChange<'v>> {
    let messages = vehicle.message_changes.iter().copied();
    messages.filter(|message| matches!(message.kind, ONLINE | OFFLINE))
}

/// Presence messages that repeat the one before, and those whose batch changed no presence.
fn wrong_messages(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut online = false;
    for message in presence_messages(vehicle) {
        let is_online = message.kind == ONLINE;
        if is_online == online {
            let what = format!("message {} says {} again", message.id, message.kind);
            findings.push(Finding::new(message.at, what));
        }
        online = is_online;
        let mut transitions = vehicle.session_transitions();
        let transition = transitions.find(|(_, change)| change.batch == message.batch);
        // A vehicle may come and go in one batch. Its row then shows a login, or that it was deleted.
        let has_happened = transition.is_some_and(|(before, change)| {
            let after = change.session;
            before.online != after.online || before.epoch < after.epoch || change.deletes
        });
        if !has_happened {
            let what = format!(
                "message {} says {}, which did not happen",
                message.id, message.kind
            );
            findings.push(Finding::new(message.at, what));
        }
    }
    findings
}

/// Batches after which the row differs from the last presence message.
fn wrong_batches(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut last_message: BTreeMap<&BatchId, &str> = BTreeMap::new();
    for message in presence_messages(vehicle) {
        last_message.insert(message.batch, message.kind);
    }
    for (before, change) in vehicle.session_transitions() {
        let online = change.session.online;
        let message = last_message.get(change.batch).copied();
        let is_right = match message {
            Some(kind) => (kind == ONLINE) == online,
            None => before.online == online,
        };
        if !is_right {
            let what =
                format!("online became {online}, and the message of the batch is {message:?}");
            findings.push(Finding::new(change.at, what));
        }
    }
    findings
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings, held},
    };

    #[test]
    fn a_vehicle_that_comes_and_goes_in_one_batch_holds() {
        let mut timeline = Timeline::new();
        timeline.send_hello(0).write_session("A", held("A", 0, 1));
        timeline.send_hello(1).disconnect(1);
        // The login of epoch 2 and its end share a batch.
        let mut gone = held("A", 1, 2);
        gone.incarnation = None;
        gone.online = false;
        timeline.go_offline("A", "goodbye");
        gone.epoch = 2;
        timeline.write_session("A", gone);
        timeline
            .publish("A", "vehicle.online")
            .publish("A", "vehicle.offline");
        timeline.disconnect(0).log_in(2, 3);
        assert_eq!(findings(&timeline, Invariant::PresenceEvents), [""; 0]);
        assert_eq!(findings(&timeline, Invariant::WebhookMessages), [""; 0]);
        assert_eq!(findings(&timeline, Invariant::WebhookDeliveries), [""; 0]);
    }

    #[test]
    fn a_change_without_a_message_and_the_reverse_violate() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .go_offline("A", "goodbye")
            .retract_message();
        timeline.log_in(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::PresenceEvents),
            [
                "online became false, and the message of the batch is None",
                "message m2 says vehicle.online again",
            ]
        );
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_report(0, 1).store_report(1, 1);
        timeline
            .publish("A", "vehicle.offline")
            .publish("A", "vehicle.online");
        assert_eq!(
            findings(&timeline, Invariant::PresenceEvents),
            [
                "message m2 says vehicle.offline, which did not happen",
                "message m3 says vehicle.online, which did not happen",
            ]
        );
    }

    #[test]
    fn a_message_in_another_batch_than_its_change_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .disconnect(0)
            .go_offline("A", "goodbye")
            .retract_message();
        timeline
            .send_report(0, 1)
            .store_report(1, 1)
            .publish("A", "vehicle.offline");
        timeline.log_in(1, 2);
        assert_eq!(
            findings(&timeline, Invariant::PresenceEvents),
            [
                "online became false, and the message of the batch is None",
                "message m2 says vehicle.offline, which did not happen",
            ]
        );
    }
}
