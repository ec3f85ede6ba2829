//! Commands that a login, a deletion, a kill, a shutdown or a database outage interrupts.

use std::{io::Write, net::TcpStream};

use serde_json::json;

use crate::support::{Daemon, Database, Dialect, Lock, REST, RUN, Vehicle, on_every_database};

on_every_database! {
    a_new_login_ends_sent_commands_and_takes_over_waiting_ones,
    deleting_a_vehicle_ends_and_deletes_its_commands,
    a_command_in_flight_at_a_kill_is_never_sent_again,
}

fn a_new_login_ends_sent_commands_and_takes_over_waiting_ones(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut old = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let pending = daemon.start_command("truck/turnOn", &json!({}));
    old.expect_command(RUN);
    let waiting = daemon.start_command("truck/turnOff", &json!({}));
    daemon.wait_for_command_states("truck", &["sent", "created"]);
    let mut new = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    new.expect_command(REST);
    new.reply("DONE!");
    assert_eq!(pending.response().outcome(), (409, "vehicle-disconnected"));
    assert_eq!(waiting.response().outcome(), (200, "done"));
    assert_eq!(daemon.command_states("truck"), ["disconnected", "done"]);
}

fn deleting_a_vehicle_ends_and_deletes_its_commands(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let pending = daemon.start_command("truck/turnOn", &json!({}));
    vehicle.expect_command(RUN);
    let waiting = daemon.start_command("truck/turnOff", &json!({}));
    daemon.wait_for_command_states("truck", &["sent", "created"]);
    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    assert_eq!(pending.response().outcome(), (409, "vehicle-disconnected"));
    assert_eq!(waiting.response().status, 409);
    Vehicle::log_in(&daemon, "truck", Dialect::Text);
    assert_eq!(daemon.command_states("truck"), [""; 0]);
}

fn a_command_in_flight_at_a_kill_is_never_sent_again(database: &Database) {
    let builder = Daemon::on(database).set("commands.timeout=2s");
    let daemon = builder.start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let ask = |path: &str| {
        let mut caller = TcpStream::connect(daemon.http).unwrap();
        write!(
            caller,
            "POST /service/{path} HTTP/1.1\r\nHost: localhost\r\n\r\n"
        )
        .unwrap();
        caller
    };
    let _first = ask("truck/turnOn");
    vehicle.expect_command(RUN);
    let _second = ask("truck/turnOff");
    daemon.wait_for_command_states("truck", &["sent", "created"]);
    let daemon = daemon.kill_and_restart();
    // On a server another instance may still deliver an unsent command until it expires.
    let ends = match database {
        Database::File => ["disconnected", "cancelled"],
        Database::Server(_) => ["disconnected", "expired"],
    };
    daemon.wait_for_command_states("truck", &ends);
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    vehicle.reply("DONE!");
    vehicle.expect_nothing_more();
    assert_eq!(daemon.command_states("truck"), ends);
}

#[test]
fn a_shutdown_ends_open_commands_and_answers_their_callers() {
    let mut daemon = Daemon::builder().set("shutdown.grace=4s").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let pending = daemon.start_command("truck/turnOn", &json!({}));
    vehicle.expect_command(RUN);
    daemon.signal("TERM");
    vehicle.expect_command("GOTTA GO.");
    vehicle.reply("SEE YA!");
    vehicle.device.expect_closed();
    assert_eq!(pending.response().outcome(), (409, "vehicle-disconnected"));
    assert!(daemon.wait().success());
    assert_eq!(daemon.query("SELECT state FROM commands"), ["disconnected"]);
}

#[test]
fn a_shutdown_waits_for_replies_before_the_goodbye() {
    let mut daemon = Daemon::builder().set("shutdown.grace=1m").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let pending = daemon.start_command("truck/turnOn", &json!({}));
    vehicle.expect_command(RUN);
    daemon.signal("TERM");
    daemon.logged("stopping: no new connections, finishing what is in flight");
    vehicle.reply("DONE!");
    vehicle.expect_command("GOTTA GO.");
    vehicle.reply("SEE YA!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    assert!(daemon.wait().success());
}

#[test]
fn a_command_that_was_not_stored_is_not_sent_later() {
    let daemon = Daemon::builder().set("store.commit_timeout=1s").start();
    let mut vehicle = Vehicle::log_in(&daemon, "truck", Dialect::Text);
    let lock = Lock::take(&daemon.database());
    let refused = daemon.send_command("truck/turnOn", &json!({}));
    assert_eq!(refused.outcome(), (503, "store-unavailable"));
    drop(lock);
    daemon.logged("the database commits again");
    vehicle.expect_nothing_more();
    assert!(!daemon.command_states("truck").contains(&"sent".to_owned()));
    let pending = daemon.start_command("truck/turnOff", &json!({}));
    vehicle.expect_command(REST);
    vehicle.reply("DONE!");
    assert_eq!(pending.response().status, 200);
}
