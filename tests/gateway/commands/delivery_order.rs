//! The order of commands that wait: for their turn in a session, and for a login.

use serde_json::{Value, json};

use crate::support::{Daemon, Database, Dialect, REST, RUN, Vehicle, change, on_every_database};

on_every_database! {
    of_commands_that_outlast_a_session_the_newest_of_a_kind_is_sent,
    waiting_commands_keep_their_order_over_a_reconnect,
}

fn queued() -> Value {
    json!({ "queue": true, "ttlSeconds": 60 })
}

fn of_commands_that_outlast_a_session_the_newest_of_a_kind_is_sent(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let unanswered = daemon.start_command("truck/turnOn", &json!({}));
    vehicle.expect_command(RUN);
    let older = daemon.start_command("truck/turnOn", &queued());
    daemon.wait_for_command_states("truck", &["sent", "created"]);
    let newer = daemon.start_command("truck/turnOff", &queued());
    daemon.wait_for_command_states("truck", &["sent", "created", "created"]);
    drop(vehicle);
    assert_eq!(unanswered.response().status, 409);
    assert_eq!(newer.response().outcome(), (202, "queued"));
    // Superseded at once, or right after it was queued.
    let older = older.response();
    assert!(matches!(older.status, 202 | 409), "{older:?}");
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.expect_command(REST);
    vehicle.reply("DONE!");
    daemon.wait_for_command_states("truck", &["disconnected", "superseded", "done"]);
}

fn waiting_commands_keep_their_order_over_a_reconnect(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut old = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let unanswered = daemon.start_command("truck/turnOn", &json!({}));
    old.expect_command(RUN);
    let expected = [RUN, REST, REST, RUN, RUN, RUN, REST, RUN, REST, REST];
    let mut waiting = Vec::new();
    let mut states = vec!["sent"];
    for sentence in expected {
        waiting.push(daemon.start_command("truck/command", &json!({ "message": sentence })));
        states.push("created");
        daemon.wait_for_command_states("truck", &states);
    }
    let mut new = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    for sentence in expected {
        new.expect_command(sentence);
        new.reply("DONE!");
    }
    assert_eq!(unanswered.response().status, 409);
    for pending in waiting {
        assert_eq!(pending.response().status, 200);
    }
}

#[test]
fn a_queued_command_is_retried_until_the_database_can_claim_it() {
    let daemon = Daemon::builder().set("store.commit_timeout=300ms").start();
    drop(Vehicle::log_in(&daemon, "truck", Dialect::Text));
    daemon.wait_until_offline("truck");
    assert_eq!(daemon.send_command("truck/turnOn", &queued()).status, 202);
    // No command can be claimed. An overflow does not count as a fault of the data, so the write is retried until its
    // timeout.
    let fault = "CREATE TRIGGER fault BEFORE UPDATE ON commands WHEN NEW.state = 'sent' \
                 BEGIN SELECT abs(-9223372036854775807 - 1); END";
    change(&daemon.database_url(), fault);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    daemon.logged("queued command not sent");
    change(&daemon.database_url(), "DROP TRIGGER fault");
    vehicle.expect_command(RUN);
    vehicle.reply("DONE!");
    daemon.wait_for_command_states("truck", &["done"]);
}
