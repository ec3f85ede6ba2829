//! Commands through one instance for vehicles on another.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::ObedientVehicle;
use crate::support::{Cluster, CommandResponse, Database, REST, RUN, on_every_server, wait_until};

on_every_server! {
    any_instance_reaches_a_vehicle_on_any_other,
    through_the_balancer_every_command_reaches_its_vehicle,
    every_outcome_is_returned_from_another_instance,
    every_kind_of_request_works_through_another_instance,
    an_idempotency_key_is_one_command_across_instances,
    the_newest_queued_command_is_delivered_at_a_login_elsewhere,
    a_broadcast_reaches_and_counts_the_vehicles_of_all_instances,
    a_message_on_the_shared_channel_commands_a_vehicle_once,
    a_command_for_a_draining_vehicle_waits_for_its_login_elsewhere,
}

fn any_instance_reaches_a_vehicle_on_any_other(database: &Database) {
    let cluster = Cluster::start(database, 3);
    for owner in 0..3 {
        let id = format!("truck-{owner}");
        let mut device = cluster.log_in_at(owner, &id);
        for through in 0..3 {
            let instance = cluster.instance(through);
            let pending = instance.start_command(&format!("{id}/turnOn"), &json!({}));
            device.expect(RUN);
            device.say("DONE!");
            let answer = pending.response();
            assert_eq!(answer.outcome(), (200, "done"));
            assert_eq!(answer.body["reply"], "DONE!");
            assert_eq!(instance.vehicle(&id)["running"], true);
        }
        // It was sent nothing else.
        device.ping();
    }
}

fn through_the_balancer_every_command_reaches_its_vehicle(database: &Database) {
    const VEHICLES: usize = 6;
    let cluster = Cluster::start(database, 3);
    let mut others = Vec::new();
    wait_until("the balancer uses all three", || {
        others.push(cluster.log_in(&format!("other-{}", others.len())));
        let mut instances = cluster.instances();
        instances
            .all(|instance| instance.connection_count() > 0)
            .then_some(())
    });
    let ids: Vec<String> = (0..VEHICLES).map(|nth| format!("truck-{nth}")).collect();
    let vehicles: Vec<ObedientVehicle> = ids
        .iter()
        .map(|id| ObedientVehicle::new(cluster.log_in(id)))
        .collect();
    let owners = "SELECT DISTINCT instance_id FROM vehicles WHERE device_id LIKE 'truck%'";
    assert_eq!(cluster.query(owners).len(), 3);
    // Sequential requests, so that the balancer sends each of three to another instance.
    let mut by_way_of = BTreeSet::new();
    for id in &ids {
        for _ in 0..3 {
            let pending = cluster.post(&format!("/service/{id}/turnOn"), &json!({}));
            assert_eq!(pending.status(), 200);
            assert_eq!(pending.json::<Value>().unwrap()["reply"], "DONE!");
            let server: Value = cluster.get("/").json().unwrap();
            by_way_of.insert(server["instance"]["name"].to_string());
        }
    }
    assert_eq!(by_way_of.len(), 3);
    for vehicle in vehicles {
        assert_eq!(vehicle.received(), [RUN; 3]);
    }
}

fn every_outcome_is_returned_from_another_instance(database: &Database) {
    let cluster = Cluster::start(database, 2);
    let elsewhere = cluster.instance(1);
    let mut device = cluster.log_in_at(0, "truck");

    let pending = elsewhere.start_command("truck/turnOn", &json!({}));
    device.expect(RUN);
    device.say("I CAN'T, SORRY.");
    let answer = pending.response();
    assert_eq!(answer.outcome(), (409, "vehicle-refused"));
    let refused = elsewhere.command_record("truck", answer.command_id());
    assert_eq!(refused["status"], "refused");

    let pending = elsewhere.start_command("truck/turnOn", &json!({"timeoutSeconds": 1}));
    device.expect(RUN);
    assert_eq!(pending.response().outcome(), (504, "vehicle-no-answer"));
    // The reply slot is taken: a command that cannot be sent in time is never sent.
    let pending = elsewhere.start_command("truck/turnOff", &json!({"timeoutSeconds": 1}));
    assert_eq!(pending.response().outcome(), (504, "command-expired"));
    device.say("DONE!");
    device.ping();

    assert_eq!(
        elsewhere
            .send_command("nobody/turnOn", &json!({}))
            .outcome(),
        (404, "unknown-vehicle")
    );

    let pending = elsewhere.start_command("truck/turnOff", &json!({}));
    device.expect(REST);
    drop(device);
    assert_eq!(pending.response().outcome(), (409, "vehicle-disconnected"));
    let answer = elsewhere.send_command("truck/turnOn", &json!({}));
    assert_eq!(answer.outcome(), (409, "vehicle-offline"));
}

fn every_kind_of_request_works_through_another_instance(database: &Database) {
    let cluster = Cluster::start(database, 2);
    let elsewhere = cluster.instance(1);
    let mut device = cluster.log_in_at(0, "truck");

    let pending = elsewhere.start_command("truck/frequency", &json!({"seconds": 77}));
    device.expect("KEEP ME POSTED EVERY 77 SECONDS.");
    device.say("SURE, I WILL!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    assert_eq!(
        elsewhere.vehicle("truck")["acknowledgedUpdateFrequency"],
        77
    );

    let url = elsewhere.url("/service/truck/fetch-info");
    let pending = std::thread::spawn(move || reqwest::blocking::get(url).unwrap());
    device.expect("HOW'S IT GOING?");
    device.say("FINE. I'M HERE 1.5 2.5, RESTING AND CHARGED AT 42%.");
    let info: Value = pending.join().unwrap().json().unwrap();
    assert_eq!(info["status"], "CONNECTED");
    assert_eq!(info["battery"], 42);

    let pending = elsewhere.start_command("truck/disconnect", &json!({}));
    device.expect("GOTTA GO.");
    device.say("SEE YA!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    device.expect_closed();
    assert_eq!(
        elsewhere.wait_until_offline("truck")["disconnectReason"],
        "operator"
    );
}

fn an_idempotency_key_is_one_command_across_instances(database: &Database) {
    let cluster = Cluster::start(database, 3);
    let vehicle = ObedientVehicle::new(cluster.log_in_at(0, "truck"));
    let pending: Vec<_> = (0..9)
        .map(|n| {
            cluster
                .instance(n % 3)
                .start_command_with_key("truck/turnOn", &json!({}), Some("key"))
        })
        .collect();
    let answers: Vec<_> = pending
        .into_iter()
        .map(|pending| pending.response())
        .collect();
    let ids: BTreeSet<&str> = answers.iter().map(CommandResponse::command_id).collect();
    assert_eq!(ids.len(), 1, "{answers:#?}");
    assert!(
        answers
            .iter()
            .all(|answer| answer.outcome() == (200, "done"))
    );
    assert_eq!(vehicle.received(), [RUN]);
    let other =
        cluster
            .instance(2)
            .start_command_with_key("truck/turnOff", &json!({}), Some("key"));
    assert_eq!(other.response().outcome(), (422, "idempotency-key-reused"));
}

fn the_newest_queued_command_is_delivered_at_a_login_elsewhere(database: &Database) {
    let cluster = Cluster::start(database, 3);
    let mut device = cluster.log_in_at(0, "truck");
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    cluster.instance(1).wait_until_offline("truck");
    let queue = json!({"queue": true, "ttlSeconds": 60});
    let older = cluster.instance(0).send_command("truck/turnOn", &queue);
    assert_eq!(older.outcome(), (202, "queued"));
    let newer = cluster.instance(1).send_command("truck/turnOff", &queue);
    assert_eq!(newer.outcome(), (202, "queued"));
    let mut device = cluster.log_in_at(2, "truck");
    device.expect(REST);
    device.say("DONE!");
    let instance = cluster.instance(0);
    wait_until("the newer command is done", || {
        (instance.command_record("truck", newer.command_id())["status"] == "done").then_some(())
    });
    let older = instance.command_record("truck", older.command_id());
    assert_eq!(older["status"], "superseded");
    device.ping();
}

fn a_broadcast_reaches_and_counts_the_vehicles_of_all_instances(database: &Database) {
    let cluster = Cluster::start(database, 3);
    let vehicles: Vec<_> = (0..9)
        .map(|n| ObedientVehicle::new(cluster.log_in_at(n % 3, &format!("truck-{n}"))))
        .collect();
    let mut silent = cluster.log_in_at(2, "silent");
    let body = json!({"message": RUN, "timeoutSeconds": 3});
    let counts: Value = cluster
        .instance(1)
        .post("/service/broadcast", &body)
        .json()
        .unwrap();
    assert_eq!(
        counts,
        json!({"addressed": 10, "done": 9, "refused": 0, "silent": 1, "disconnected": 0, "unsent": 0, "unreachableInstances": 0})
    );
    silent.expect(RUN);
    for vehicle in vehicles {
        assert_eq!(vehicle.received(), [RUN]);
    }
}

/// Publishes a message and returns the number of receivers.
fn publish(cluster: &Cluster, channel: &str, message: &str) -> u64 {
    cluster.redis().publish(channel, message)
}

fn a_message_on_the_shared_channel_commands_a_vehicle_once(database: &Database) {
    let cluster = Cluster::start(database, 3);
    let message = |id: &str| json!({"type": "command", "message": RUN, "clientId": id}).to_string();
    wait_until("all have subscribed", || {
        (publish(&cluster, "VehicleServers", "no JSON") == 3).then_some(())
    });
    for owner in 0..3 {
        let id = format!("truck-{owner}");
        let mut device = cluster.log_in_at(owner, &id);
        publish(&cluster, "VehicleServers", &message(&id));
        device.expect(RUN);
        device.say("DONE!");
        cluster.instance(0).wait_for_command_states(&id, &["done"]);
        device.ping();
    }
    // Commands for unknown vehicles and foreign messages do no harm.
    for other in [message("nobody"), "{}".to_owned(), "[".to_owned()] {
        assert_eq!(publish(&cluster, "VehicleServers", &other), 3);
    }
    cluster.log_in_at(1, "after");
}

fn a_command_for_a_draining_vehicle_waits_for_its_login_elsewhere(database: &Database) {
    let mut cluster = Cluster::start(database, 2);
    let mut device = cluster.log_in_at(0, "truck");
    cluster.instance(0).signal("TERM");
    device.expect("GOTTA GO.");
    let key = Some("key");
    let pending = cluster
        .instance(1)
        .start_command_with_key("truck/turnOn", &json!({}), key);
    wait_until("the stopping instance has the command", || {
        let stored = cluster.query("SELECT id FROM commands");
        (!stored.is_empty()).then_some(())
    });
    device.say("SEE YA!");
    device.expect_closed();
    let mut device = cluster.log_in_at(1, "truck");
    device.expect(RUN);
    device.say("DONE!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    assert!(cluster.wait_for_exit(0).success());
}
