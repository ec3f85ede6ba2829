//! What is kept for a vehicle that is offline: a report frequency, and commands that wait for a login.

use serde_json::{Value, json};

use crate::support::{
    ASK, Daemon, Database, Dialect, REST, RUN, Vehicle, on_every_database, wait_until,
};

fn every(seconds: u64) -> String {
    format!("KEEP ME POSTED EVERY {seconds} SECONDS.")
}

fn offline(daemon: &Daemon, dialect: Dialect) {
    drop(Vehicle::log_in(daemon, "truck", dialect));
    daemon.offline("truck");
}

fn frequencies(daemon: &Daemon) -> [Value; 2] {
    let vehicle = daemon.vehicle("truck");
    ["updateFrequency", "acknowledgedUpdateFrequency"].map(|key| vehicle[key].clone())
}

on_every_database! {
    a_frequency_is_shown_as_desired_and_as_acknowledged,
    a_frequency_set_offline_is_sent_once_after_each_login,
    the_newest_frequency_is_sent_last,
    a_queued_command_is_delivered_once_at_the_next_login,
    queued_commands_and_the_desired_frequency_survive_a_restart,
    a_queued_command_past_its_ttl_expires_and_is_never_sent,
    a_newer_queued_command_supersedes_one_with_the_same_reply,
    a_queued_disconnect_is_sent_after_all_other_commands,
    queueing_needs_a_ttl_and_an_online_vehicle_is_asked_at_once,
}

fn a_frequency_is_shown_as_desired_and_as_acknowledged(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let asked = daemon.ask("truck/frequency", &json!({ "seconds": 60 }));
        vehicle.hears(&every(60));
        assert_eq!(frequencies(&daemon), [json!(60), Value::Null]);
        vehicle.answers("SURE, I WILL!");
        assert_eq!(asked.answer().told(), (200, "done"));
        assert_eq!(frequencies(&daemon), [json!(60), json!(60)]);
        // What the vehicle chooses by itself changes what it keeps, not what is desired of it.
        vehicle.says(&every(10));
        vehicle.expect_reply("SURE, I WILL!");
        assert_eq!(frequencies(&daemon), [json!(60), json!(10)]);
    }
}

fn a_frequency_set_offline_is_sent_once_after_each_login(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        offline(&daemon, dialect);
        let answer = daemon.operate("truck/frequency", &json!({ "seconds": 30 }));
        assert_eq!(answer.told(), (202, "desired"));
        assert_eq!(frequencies(&daemon), [json!(30), Value::Null]);
        for login in 1..=2 {
            let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
            vehicle.hears(&every(30));
            vehicle.answers("SURE, I WILL!");
            wait_until("the answer is stored", || {
                let done = daemon.states("truck");
                (done == vec!["done"; login]).then_some(())
            });
            vehicle.hears_nothing();
            drop(vehicle);
            daemon.offline("truck");
        }
        assert_eq!(frequencies(&daemon), [json!(30), json!(30)]);
        let log = daemon.json("/vehicles/truck/commands");
        assert_eq!(log["items"][0]["origin"], "login");
    }
}

fn the_newest_frequency_is_sent_last(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let first = daemon.ask("truck/frequency", &json!({ "seconds": 10 }));
    vehicle.hears(&every(10));
    let second = daemon.ask("truck/frequency", &json!({ "seconds": 20 }));
    daemon.reaches("truck", &["sent", "created"]);
    let third = daemon.ask("truck/frequency", &json!({ "seconds": 30 }));
    daemon.reaches("truck", &["sent", "created", "created"]);
    for _ in 0..2 {
        vehicle.answers("SURE, I WILL!");
        vehicle.hears(&every(30));
    }
    vehicle.answers("SURE, I WILL!");
    for asked in [first, second, third] {
        assert_eq!(asked.answer().status, 200);
    }
    assert_eq!(frequencies(&daemon), [json!(30), json!(30)]);
}

fn a_queued_command_is_delivered_once_at_the_next_login(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        offline(&daemon, dialect);
        let body = json!({ "queue": true, "ttlSeconds": 3600 });
        let answer = daemon.operate("truck/turnOn", &body);
        assert_eq!(answer.told(), (202, "queued"));
        let path = answer.location.clone().unwrap();
        assert_eq!(daemon.json(&path)["status"], "queued");
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        vehicle.hears(RUN);
        vehicle.answers("DONE!");
        daemon.reaches("truck", &["done"]);
        assert_eq!(daemon.vehicle("truck")["running"], true);
        drop(vehicle);
        daemon.offline("truck");
        Vehicle::log_in(&daemon, "truck", dialect).hears_nothing();
        assert_eq!(daemon.states("truck"), ["done"]);
    }
}

fn queued_commands_and_the_desired_frequency_survive_a_restart(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    daemon.operate("truck/frequency", &json!({ "seconds": 10 }));
    let body = json!({ "queue": true, "ttlSeconds": 60 });
    daemon.operate("truck/turnOn", &body);
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.states("truck"), ["queued"]);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let mut heard = [vehicle.device.line(), vehicle.device.line()].map(Option::unwrap);
    heard.sort();
    assert_eq!(heard, [RUN.to_owned(), every(10)]);
    vehicle.answers("DONE!");
    vehicle.answers("SURE, I WILL!");
    daemon.reaches("truck", &["done", "done"]);
}

fn a_queued_command_past_its_ttl_expires_and_is_never_sent(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    let body = json!({ "queue": true, "ttlSeconds": 1 });
    assert_eq!(daemon.operate("truck/turnOn", &body).status, 202);
    daemon.reaches("truck", &["expired"]);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.hears_nothing();
    assert_eq!(daemon.states("truck"), ["expired"]);
}

fn a_newer_queued_command_supersedes_one_with_the_same_reply(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    let queued = json!({ "queue": true, "ttlSeconds": 60 });
    for path in ["truck/turnOn", "truck/fetch", "truck/turnOff"] {
        let body = match path {
            "truck/fetch" => {
                json!({ "message": ASK, "queue": true, "ttlSeconds": 60 })
            }
            _ => queued.clone(),
        };
        let path = path.replace("fetch", "command");
        assert_eq!(daemon.operate(&path, &body).status, 202);
    }
    assert_eq!(daemon.states("truck"), ["superseded", "queued", "queued"]);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.hears(ASK);
    vehicle.hears(REST);
    vehicle.answers("FINE. I'M HERE 1 2, RESTING AND CHARGED AT 3%.");
    vehicle.answers("DONE!");
    daemon.reaches("truck", &["superseded", "done", "done"]);
    vehicle.hears_nothing();
}

fn a_queued_disconnect_is_sent_after_all_other_commands(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    for path in ["truck/disconnect", "truck/turnOff"] {
        let body = json!({ "queue": true, "ttlSeconds": 60 });
        assert_eq!(daemon.operate(path, &body).status, 202);
    }
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.hears(REST);
    vehicle.hears_nothing();
    vehicle.answers("DONE!");
    vehicle.hears("GOTTA GO.");
    vehicle.answers("SEE YA!");
    vehicle.device.expect_closed();
    daemon.reaches("truck", &["done", "done"]);
}

fn queueing_needs_a_ttl_and_an_online_vehicle_is_asked_at_once(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let refused = daemon.operate("truck/turnOn", &json!({ "queue": true }));
    assert_eq!(refused.told(), (422, "invalid-body"));
    let asked = daemon.ask("truck/turnOn", &json!({ "queue": true, "ttlSeconds": 60 }));
    vehicle.hears(RUN);
    // Behind it, to be queued as well; then the vehicle goes, and with it only what it has heard.
    let behind = daemon.ask("truck/turnOff", &json!({ "queue": true, "ttlSeconds": 60 }));
    daemon.reaches("truck", &["sent", "created"]);
    drop(vehicle);
    assert_eq!(asked.answer().told(), (409, "vehicle-disconnected"));
    assert_eq!(behind.answer().told(), (202, "queued"));
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.hears(REST);
    vehicle.answers("DONE!");
    daemon.reaches("truck", &["disconnected", "done"]);
}
