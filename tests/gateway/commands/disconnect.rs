//! `POST /service/{deviceId}/disconnect`: a goodbye, and the end of the connection.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::support::{ASK, Daemon, Database, Dialect, RUN, Vehicle, on_every_database};

on_every_database! {
    a_disconnect_says_goodbye_and_closes,
    a_disconnect_without_a_reply_closes_and_ends_other_commands,
    a_vehicle_that_ignores_a_disconnect_is_closed_at_the_timeout,
}

fn a_disconnect_says_goodbye_and_closes(database: &Database) {
    for dialect in Dialect::BOTH {
        let daemon = Daemon::on(database).start();
        let mut vehicle = Vehicle::log_in(&daemon, "truck", dialect);
        let pending = daemon.start_command("truck/disconnect", &json!({}));
        vehicle.expect_command("GOTTA GO.");
        vehicle.reply("SEE YA!");
        vehicle.device.expect_closed();
        let answer = pending.response();
        assert_eq!(
            (answer.status, &answer.body["reply"]),
            (200, &json!("SEE YA!"))
        );
        assert_eq!(
            daemon.wait_until_offline("truck")["disconnectReason"],
            "operator"
        );
    }
}

fn a_disconnect_without_a_reply_closes_and_ends_other_commands(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let turned_on = daemon.start_command("truck/turnOn", &json!({}));
    vehicle.expect_command(RUN);
    let pending = daemon.start_command("truck/disconnect", &json!({}));
    vehicle.expect_command("GOTTA GO.");
    let behind = daemon.start_command("truck/command", &json!({ "message": ASK }));
    vehicle.device.expect_closed();
    assert_eq!(pending.response().outcome(), (504, "vehicle-no-answer"));
    assert_eq!(
        daemon.wait_until_offline("truck")["disconnectReason"],
        "operator"
    );
    assert_eq!(
        turned_on.response().outcome(),
        (409, "vehicle-disconnected")
    );
    // Rejected at once, not when the goodbye has ended.
    assert_eq!(behind.response().outcome(), (409, "vehicle-offline"));
    assert_eq!(
        daemon.command_states("truck"),
        ["disconnected", "no-answer"]
    );
}

fn a_vehicle_that_ignores_a_disconnect_is_closed_at_the_timeout(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let started = Instant::now();
    let parting = daemon.start_command("truck/disconnect", &json!({ "timeoutSeconds": 1 }));
    vehicle.expect_command("GOTTA GO.");
    assert_eq!(parting.response().outcome(), (504, "vehicle-no-answer"));
    vehicle.device.expect_closed();
    assert_eq!(
        daemon.wait_until_offline("truck")["disconnectReason"],
        "operator"
    );
    // Less than the gateway's own limit for `SEE YA!`.
    assert!(started.elapsed() < Duration::from_secs(4));
}
