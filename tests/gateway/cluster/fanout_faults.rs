//! Messages between instances that are lost, late or duplicated.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{ObedientVehicle, audited, incarnation};
use crate::support::{Cluster, Database, RUN, on_every_server, wait_until};

on_every_server! {
    a_duplicated_request_is_one_command_with_one_outcome,
    a_request_received_after_its_deadline_is_ignored,
    lost_messages_never_give_a_command_two_outcomes,
}

fn channel(cluster: &Cluster, index: usize) -> String {
    format!("VehicleServers:instance:{}", incarnation(cluster, index))
}

/// The number of the vehicle's commands that are recorded as sent.
fn sent(cluster: &Cluster, device_id: &str) -> usize {
    let sql =
        format!("SELECT id FROM commands WHERE device_id = '{device_id}' AND sent_at IS NOT NULL");
    cluster.query(&sql).len()
}

fn a_duplicated_request_is_one_command_with_one_outcome(database: &Database) {
    const COMMANDS: usize = 20;
    let cluster = audited(database, 2);
    let vehicle = ObedientVehicle::new(cluster.log_in_at(0, "truck"));
    let mut answers = cluster.redis().subscribe(&channel(&cluster, 1));
    let (owner, asking) = (channel(&cluster, 0), incarnation(&cluster, 1));
    for _ in 0..COMMANDS {
        let id = Uuid::now_v7();
        let now = jiff::Timestamp::now().as_millisecond();
        let mut waiting: BTreeSet<String> = BTreeSet::new();
        let messages: Vec<String> = (0..4)
            .map(|_| {
                let correlation = Uuid::now_v7().to_string();
                waiting.insert(correlation.clone());
                json!({
                    "version": 1, "kind": "request", "origin": asking, "correlation": correlation,
                    "type": "command", "id": id, "deviceId": "truck", "message": RUN,
                    "timeoutMillis": 5_000, "expiresAt": now + 5_000,
                })
                .to_string()
            })
            .collect();
        cluster.redis().publish_all(&owner, &messages);
        while !waiting.is_empty() {
            let received: Value = serde_json::from_str(&answers.next()).unwrap();
            if received["kind"] == "answer"
                && waiting.remove(received["correlation"].as_str().unwrap())
            {
                // `moved`: the duplicate arrived before the command was stored, and the requester would ask again.
                let outcome = received["outcome"].as_str().unwrap();
                assert!(["ended", "moved"].contains(&outcome), "{received}");
                assert!(outcome == "moved" || received["command"]["state"] == "done");
            }
        }
    }
    let done = cluster.query("SELECT id FROM commands WHERE state = 'done'");
    assert_eq!(done.len(), COMMANDS);
    assert_eq!(vehicle.received(), [RUN; COMMANDS]);
}

fn a_request_received_after_its_deadline_is_ignored(database: &Database) {
    let cluster = audited(database, 2);
    let mut device = cluster.log_in_at(0, "truck");
    cluster.instance(0).signal("STOP");
    let pending = cluster
        .instance(1)
        .start_command("truck/turnOn", &json!({ "timeoutSeconds": 1 }));
    let answer = pending.response();
    assert_eq!(answer.outcome(), (503, "owner-unreachable"));
    // Paused for less than a lease, so it is not declared dead.
    cluster.instance(0).signal("CONT");
    device.ping();
    assert_eq!(sent(&cluster, "truck"), 0);
    let pending = cluster
        .instance(1)
        .start_command("truck/turnOn", &json!({}));
    device.expect(RUN);
    device.say("DONE!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    assert_eq!(sent(&cluster, "truck"), 1);
}

fn lost_messages_never_give_a_command_two_outcomes(database: &Database) {
    const COMMANDS: usize = 15;
    let cluster = audited(database, 2);
    let vehicle = ObedientVehicle::new(cluster.log_in_at(0, "truck"));
    let mut ends: BTreeSet<String> = BTreeSet::new();
    for nth in 0..COMMANDS {
        let body = json!({ "timeoutSeconds": 1 });
        // A message without a subscriber is lost: the request, or its answer.
        if nth % 3 == 0 {
            cluster.redis().disconnect_subscribers();
        }
        let pending = cluster.instance(1).start_command("truck/turnOn", &body);
        if nth % 3 == 1 {
            cluster.redis().disconnect_subscribers();
        }
        let answer = pending.response();
        ends.insert(format!("{:?}", answer.outcome()));
        match answer.outcome() {
            (200, "done") => {
                let row = cluster
                    .instance(1)
                    .command_record("truck", answer.command_id());
                assert_eq!(row["status"], "done");
            }
            (503, "fan-out-unavailable" | "owner-unreachable") | (504, "command-expired") => {}
            other => panic!("{other:?}"),
        }
    }
    wait_until("all commands have ended", || {
        let open = cluster.query("SELECT id FROM commands WHERE finished_at IS NULL");
        open.is_empty().then_some(())
    });
    let done = cluster.query("SELECT id FROM commands WHERE state = 'done'");
    assert_eq!(vehicle.received().len(), done.len());
    assert_eq!(sent(&cluster, "truck"), done.len());
    assert!(ends.contains("(200, \"done\")"), "{ends:?}");
}
