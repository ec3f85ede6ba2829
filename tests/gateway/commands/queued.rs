//! The desired report frequency, and commands that are queued for the next login.

use serde_json::{Value, json};

use crate::support::{
    ASK, Daemon, Database, Dialect, REST, RUN, Vehicle, on_every_database, wait_until,
};

fn every(seconds: u64) -> String {
    format!("KEEP ME POSTED EVERY {seconds} SECONDS.")
}

fn offline(daemon: &Daemon, dialect: Dialect) {
    drop(Vehicle::log_in(daemon, "truck", dialect));
    daemon.wait_until_offline("truck");
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
        let pending = daemon.start_command("truck/frequency", &json!({ "seconds": 60 }));
        vehicle.expect_command(&every(60));
        assert_eq!(frequencies(&daemon), [json!(60), Value::Null]);
        vehicle.reply("SURE, I WILL!");
        assert_eq!(pending.response().outcome(), (200, "done"));
        assert_eq!(frequencies(&daemon), [json!(60), json!(60)]);
        // An interval that the vehicle chooses changes the acknowledged frequency, not the desired one.
        vehicle.send_message(&every(10));
        vehicle.expect_reply("SURE, I WILL!");
        assert_eq!(frequencies(&daemon), [json!(60), json!(10)]);
    }
}

fn a_frequency_set_offline_is_sent_once_after_each_login(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        offline(&daemon, dialect);
        let answer = daemon.send_command("truck/frequency", &json!({ "seconds": 30 }));
        assert_eq!(answer.outcome(), (202, "desired"));
        assert_eq!(frequencies(&daemon), [json!(30), Value::Null]);
        for login in 1..=2 {
            let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
            vehicle.expect_command(&every(30));
            vehicle.reply("SURE, I WILL!");
            wait_until("the reply is stored", || {
                let done = daemon.command_states("truck");
                (done == vec!["done"; login]).then_some(())
            });
            vehicle.expect_nothing_more();
            drop(vehicle);
            daemon.wait_until_offline("truck");
        }
        assert_eq!(frequencies(&daemon), [json!(30), json!(30)]);
        let log = daemon.json("/vehicles/truck/commands");
        assert_eq!(log["items"][0]["origin"], "login");
    }
}

fn the_newest_frequency_is_sent_last(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let first = daemon.start_command("truck/frequency", &json!({ "seconds": 10 }));
    vehicle.expect_command(&every(10));
    let second = daemon.start_command("truck/frequency", &json!({ "seconds": 20 }));
    daemon.wait_for_command_states("truck", &["sent", "created"]);
    let third = daemon.start_command("truck/frequency", &json!({ "seconds": 30 }));
    daemon.wait_for_command_states("truck", &["sent", "created", "created"]);
    for _ in 0..2 {
        vehicle.reply("SURE, I WILL!");
        vehicle.expect_command(&every(30));
    }
    vehicle.reply("SURE, I WILL!");
    for pending in [first, second, third] {
        assert_eq!(pending.response().status, 200);
    }
    assert_eq!(frequencies(&daemon), [json!(30), json!(30)]);
}

fn a_queued_command_is_delivered_once_at_the_next_login(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        offline(&daemon, dialect);
        let body = json!({ "queue": true, "ttlSeconds": 3600 });
        let answer = daemon.send_command("truck/turnOn", &body);
        assert_eq!(answer.outcome(), (202, "queued"));
        let path = answer.location.clone().unwrap();
        assert_eq!(daemon.json(&path)["status"], "queued");
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        vehicle.expect_command(RUN);
        vehicle.reply("DONE!");
        daemon.wait_for_command_states("truck", &["done"]);
        assert_eq!(daemon.vehicle("truck")["running"], true);
        drop(vehicle);
        daemon.wait_until_offline("truck");
        Vehicle::log_in(&daemon, "truck", dialect).expect_nothing_more();
        assert_eq!(daemon.command_states("truck"), ["done"]);
    }
}

fn queued_commands_and_the_desired_frequency_survive_a_restart(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    daemon.send_command("truck/frequency", &json!({ "seconds": 10 }));
    let body = json!({ "queue": true, "ttlSeconds": 60 });
    daemon.send_command("truck/turnOn", &body);
    let daemon = daemon.kill_and_restart();
    assert_eq!(daemon.command_states("truck"), ["queued"]);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let mut received = [vehicle.device.line(), vehicle.device.line()].map(Option::unwrap);
    received.sort();
    assert_eq!(received, [RUN.to_owned(), every(10)]);
    vehicle.reply("DONE!");
    vehicle.reply("SURE, I WILL!");
    daemon.wait_for_command_states("truck", &["done", "done"]);
}

fn a_queued_command_past_its_ttl_expires_and_is_never_sent(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    let body = json!({ "queue": true, "ttlSeconds": 1 });
    assert_eq!(daemon.send_command("truck/turnOn", &body).status, 202);
    daemon.wait_for_command_states("truck", &["expired"]);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.expect_nothing_more();
    assert_eq!(daemon.command_states("truck"), ["expired"]);
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
        assert_eq!(daemon.send_command(&path, &body).status, 202);
    }
    assert_eq!(
        daemon.command_states("truck"),
        ["superseded", "queued", "queued"]
    );
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.expect_command(ASK);
    vehicle.expect_command(REST);
    vehicle.reply("FINE. I'M HERE 1 2, RESTING AND CHARGED AT 3%.");
    vehicle.reply("DONE!");
    daemon.wait_for_command_states("truck", &["superseded", "done", "done"]);
    vehicle.expect_nothing_more();
}

fn a_queued_disconnect_is_sent_after_all_other_commands(database: &Database) {
    let daemon = Daemon::on(database).start();
    offline(&daemon, Dialect::Text);
    for path in ["truck/disconnect", "truck/turnOff"] {
        let body = json!({ "queue": true, "ttlSeconds": 60 });
        assert_eq!(daemon.send_command(path, &body).status, 202);
    }
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.expect_command(REST);
    vehicle.expect_nothing_more();
    vehicle.reply("DONE!");
    vehicle.expect_command("GOTTA GO.");
    vehicle.reply("SEE YA!");
    vehicle.device.expect_closed();
    daemon.wait_for_command_states("truck", &["done", "done"]);
}

fn queueing_needs_a_ttl_and_an_online_vehicle_is_asked_at_once(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let refused = daemon.send_command("truck/turnOn", &json!({ "queue": true }));
    assert_eq!(refused.outcome(), (422, "invalid-body"));
    let pending = daemon.start_command("truck/turnOn", &json!({ "queue": true, "ttlSeconds": 60 }));
    vehicle.expect_command(RUN);
    // The second waits for its turn. The vehicle disconnects, and only the first, which was sent, ends with it.
    let behind = daemon.start_command("truck/turnOff", &json!({ "queue": true, "ttlSeconds": 60 }));
    daemon.wait_for_command_states("truck", &["sent", "created"]);
    drop(vehicle);
    assert_eq!(pending.response().outcome(), (409, "vehicle-disconnected"));
    assert_eq!(behind.response().outcome(), (202, "queued"));
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.expect_command(REST);
    vehicle.reply("DONE!");
    daemon.wait_for_command_states("truck", &["disconnected", "done"]);
}
