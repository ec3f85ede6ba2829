//! The header `Idempotency-Key` of commands.

use serde_json::json;

use crate::support::{
    Daemon, Database, Dialect, RUN, Vehicle, change, on_every_database, wait_until,
};

on_every_database! {
    a_repeated_key_returns_the_first_command_and_rejects_another_request,
    a_key_expires_after_a_day_and_with_the_deletion_of_its_vehicle,
    a_repeated_request_takes_no_queue_slot,
}

fn a_repeated_key_returns_the_first_command_and_rejects_another_request(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let on = |key| daemon.start_command_with_key("truck/turnOn", &json!({}), Some(key));
    let first = on("k1");
    vehicle.expect_command(RUN);
    // While the first is in flight a repetition waits for it.
    let meanwhile = on("k1");
    let other = daemon.start_command_with_key("truck/turnOff", &json!({}), Some("k1"));
    assert_eq!(other.response().outcome(), (422, "idempotency-key-reused"));
    vehicle.reply("DONE!");
    let first = first.response();
    assert_eq!(first.status, 200);
    for repeat in [meanwhile, on("k1")] {
        let repeat = repeat.response();
        assert_eq!(
            (repeat.status, repeat.command_id()),
            (200, first.command_id())
        );
    }
    vehicle.expect_nothing_more();
    let another = on("k2");
    vehicle.expect_command(RUN);
    vehicle.reply("DONE!");
    assert_ne!(another.response().command_id(), first.command_id());
    assert_eq!(daemon.command_states("truck"), ["done", "done"]);
}

fn a_key_expires_after_a_day_and_with_the_deletion_of_its_vehicle(database: &Database) {
    let daemon = Daemon::on(database).start();
    let on = || daemon.start_command_with_key("truck/turnOn", &json!({}), Some("k1"));
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    for _ in 0..2 {
        let pending = on();
        vehicle.expect_command(RUN);
        vehicle.reply("DONE!");
        assert_eq!(pending.response().status, 200);
        change(
            &daemon.database_url(),
            "UPDATE idempotency_keys SET created_at = created_at - 86400000",
        );
    }
    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let pending = on();
    vehicle.expect_command(RUN);
    vehicle.reply("DONE!");
    assert_eq!(pending.response().status, 200);
}

fn a_repeated_request_takes_no_queue_slot(database: &Database) {
    let daemon = Daemon::on(database).set("commands.queue=1").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let on = || daemon.start_command_with_key("truck/turnOn", &json!({}), Some("key"));
    let first = on();
    vehicle.expect_command(RUN);
    let again = on();
    // The repetition may hold a slot until its key is looked up, so the first attempts may be rejected.
    wait_until("another command gets the slot", || {
        let other = daemon.send_command("truck/turnOff", &json!({ "timeoutSeconds": 1 }));
        (other.outcome() == (504, "command-expired")).then_some(())
    });
    vehicle.reply("DONE!");
    for pending in [first, again] {
        assert_eq!(pending.response().status, 200);
    }
}
