//! Webhook deliveries: every message that its vehicle's deletion did not drop reaches the endpoint with its stored
//! body, and the first deliveries of a vehicle's messages are in order of sequence.

use std::collections::BTreeMap;

use super::Finding;
use crate::history::{
    checker::vehicle_history::{MessageChange, VehicleHistory},
    record::{MessageRow, WebhookDelivery},
};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let deliveries: Vec<&WebhookDelivery> = vehicle
        .run
        .deliveries
        .iter()
        .filter(|delivery| delivery.device_id == vehicle.device_id)
        .collect();
    let mut findings = wrong_deliveries(vehicle, &deliveries);
    findings.extend(undelivered_messages(vehicle, &deliveries));
    findings
}

/// Deliveries that differ from the stored message or from each other, and those that are out of order.
fn wrong_deliveries(vehicle: &VehicleHistory<'_>, deliveries: &[&WebhookDelivery]) -> Vec<Finding> {
    let stored: BTreeMap<&str, &MessageChange<'_>> = vehicle
        .message_changes
        .iter()
        .map(|message| (message.id, message))
        .collect();
    let mut wrong = Vec::new();
    let mut first: BTreeMap<&str, &WebhookDelivery> = BTreeMap::new();
    let mut newest = 0;
    for &delivery in deliveries {
        let WebhookDelivery {
            id, sequence, kind, ..
        } = delivery;
        let is_stored = stored
            .get(id.as_str())
            .is_some_and(|message| (message.sequence, message.kind) == (*sequence, kind.as_str()));
        if !is_stored {
            wrong.push(format!(
                "message {id}, {kind} {sequence}, was delivered and is not stored so"
            ));
        }
        if let Some(first) = first.get(id.as_str()) {
            if first.body != delivery.body {
                wrong.push(format!("message {id} was delivered with two bodies"));
            }
            continue;
        }
        first.insert(id, delivery);
        if *sequence < newest {
            wrong.push(format!(
                "message {sequence} was first delivered after {newest}"
            ));
        }
        newest = newest.max(*sequence);
    }
    wrong
        .into_iter()
        .map(|what| Finding::new(None, what))
        .collect()
}

/// Messages that were neither delivered as stored nor dropped with their vehicle.
fn undelivered_messages(
    vehicle: &VehicleHistory<'_>,
    deliveries: &[&WebhookDelivery],
) -> Vec<Finding> {
    let rows: BTreeMap<&str, &MessageRow> = vehicle
        .run
        .message_rows
        .iter()
        .map(|row| (row.id.as_str(), row))
        .collect();
    let delivered: BTreeMap<&str, &WebhookDelivery> = deliveries
        .iter()
        .map(|delivery| (delivery.id.as_str(), *delivery))
        .collect();
    // A batch writes the row of the vehicle before its messages.
    let last_deletion = vehicle
        .deletions()
        .next_back()
        .map(|deletion| deletion.position);
    let mut findings = Vec::new();
    for message in &vehicle.message_changes {
        if last_deletion.is_some_and(|position| message.position < position) {
            continue;
        }
        let id = message.id;
        let what = match (rows.get(id), delivered.get(id)) {
            (_, None) => format!("message {id} was not delivered"),
            (None, _) => format!("message {id} is gone"),
            (Some(row), _) if row.state != MessageRow::DELIVERED => {
                format!("message {id} was delivered and its state is {}", row.state)
            }
            (Some(row), Some(delivery)) if row.body != delivery.body => {
                format!("message {id} was delivered with another body than it has")
            }
            _ => continue,
        };
        findings.push(Finding::new(message.at, what));
    }
    findings
}

mod tests {
    use crate::history::{
        checker::{
            Invariant,
            timeline::{Timeline, findings},
        },
        record::{StoredKind, VehicleAction},
    };

    /// Messages 1 to 7: online, debug blob, command, offline, online, offline by a deletion, online.
    fn timeline() -> Timeline {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1).send_blob(0, 1);
        timeline
            .store_in_batch(StoredKind::Blob, "A", 1, 1)
            .acknowledge(0, 1);
        timeline.create_command("a", "HEY YOU, RUN!", "cancelled");
        timeline.disconnect(0).go_offline("A", "goodbye");
        timeline.log_in(1, 2).delete().disconnect(1);
        timeline
            .respond_to_action(VehicleAction::Delete, 204, "")
            .log_in(2, 3);
        timeline
    }

    #[test]
    fn deliveries_in_order_hold_also_repeated_and_dropped_ones() {
        let mut timeline = timeline();
        let again = timeline.history.deliveries[6].clone();
        timeline.history.deliveries.push(again);
        timeline.history.deliveries.remove(3);
        timeline.history.message_rows.remove(3);
        assert_eq!(timeline.violations(), []);
    }

    #[test]
    fn deliveries_out_of_order_violate() {
        let mut timeline = timeline();
        timeline
            .log_in(3, 4)
            .log_in(4, 5)
            .go_offline("A", "goodbye")
            .disconnect(4);
        timeline.history.deliveries.swap(0, 1);
        assert_eq!(
            findings(&timeline, Invariant::WebhookDeliveries),
            ["message 1 was first delivered after 2"]
        );
    }

    #[test]
    fn a_repeated_delivery_with_another_body_violates() {
        let mut timeline = timeline();
        let mut again = timeline.history.deliveries[0].clone();
        again.body.clear();
        timeline.history.deliveries.insert(1, again);
        assert_eq!(
            findings(&timeline, Invariant::WebhookDeliveries),
            ["message m1 was delivered with two bodies"]
        );
    }

    #[test]
    fn a_message_without_a_row_violates() {
        let mut timeline = timeline();
        timeline.history.message_rows.pop();
        assert_eq!(
            findings(&timeline, Invariant::WebhookDeliveries),
            ["message m7 is gone"]
        );
    }

    #[test]
    fn a_message_that_is_lost_or_altered_violates() {
        let mut timeline = timeline();
        let lost = timeline.history.deliveries.pop().unwrap();
        assert_eq!(
            findings(&timeline, Invariant::WebhookDeliveries),
            ["message m7 was not delivered"]
        );
        timeline.history.deliveries.push(lost);
        timeline.history.deliveries[6].id = "m9".to_owned();
        assert_eq!(findings(&timeline, Invariant::WebhookDeliveries).len(), 2);
        let mut timeline = self::timeline();
        timeline.history.message_rows[6].state = 0;
        assert_eq!(
            findings(&timeline, Invariant::WebhookDeliveries),
            ["message m7 was delivered and its state is 0"]
        );
        timeline.history.message_rows[6].state = 1;
        timeline.history.message_rows[6].body.clear();
        assert_eq!(
            findings(&timeline, Invariant::WebhookDeliveries),
            ["message m7 was delivered with another body than it has"]
        );
    }
}
