//! Idempotency keys: requests with one key share one command until their vehicle is deleted, and a request without a
//! key has a command of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::Finding;
use crate::history::{checker::vehicle_history::VehicleHistory, record::HttpResult};

pub(super) fn check(vehicle: &VehicleHistory<'_>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut by_key: BTreeMap<(usize, &str), BTreeSet<&str>> = BTreeMap::new();
    let mut without_key: BTreeMap<&str, usize> = BTreeMap::new();
    for request in vehicle.command_requests() {
        let HttpResult::Response {
            command_id: Some(id),
            ..
        } = &request.result
        else {
            continue;
        };
        if let Some(key) = &request.idempotency_key {
            let deletions = deletions_before(vehicle, id);
            let ids = by_key.entry((deletions, key)).or_default();
            ids.insert(id);
            if ids.len() > 1 {
                let what = format!("{key} made the commands {ids:?}");
                findings.push(Finding::new(request.until, what));
            }
        } else {
            let count = without_key.entry(id).or_default();
            *count += 1;
            if *count > 1 {
                let what = format!("{id} is the command of {count} requests");
                findings.push(Finding::new(request.until, what));
            }
        }
    }
    findings
}

/// How often the vehicle had been deleted when this command was created.
fn deletions_before(vehicle: &VehicleHistory<'_>, id: &str) -> usize {
    let mut changes = vehicle.command_changes.iter();
    let created = changes.find(|change| change.id == id);
    let position = created.map_or(usize::MAX, |change| change.position);
    vehicle
        .deletions()
        .filter(|deletion| deletion.position < position)
        .count()
}

mod tests {
    use crate::history::checker::{
        Invariant,
        timeline::{Timeline, findings},
    };

    const RUN: &str = "HEY YOU, RUN!";

    #[test]
    fn a_second_command_of_a_key_violates() {
        let mut timeline = Timeline::new();
        timeline.log_in(0, 1);
        for id in ["a", "b"] {
            timeline
                .create_command(id, RUN, "created")
                .set_command_state(id, "cancelled")
                .respond_with_key(Some("key"), RUN, 409, "vehicle-offline", Some(id));
        }
        assert_eq!(
            findings(&timeline, Invariant::IdempotencyKeys),
            ["key made the commands {\"a\", \"b\"}"]
        );
    }

    #[test]
    fn a_command_of_two_requests_without_a_key_violates() {
        let mut timeline = Timeline::new();
        timeline
            .log_in(0, 1)
            .create_command("a", RUN, "created")
            .set_command_state("a", "cancelled")
            .respond(RUN, 409, "vehicle-offline", Some("a"))
            .respond(RUN, 409, "vehicle-offline", Some("a"));
        assert_eq!(
            findings(&timeline, Invariant::IdempotencyKeys),
            ["a is the command of 2 requests"]
        );
    }
}
