//! The log in an outage: a line for each change, and numbers that add up, however many vehicles, requests and endpoints
//! are affected.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::support::{
    Builder, Daemon, Device, Lock, REPORT, Receiver, change, expect_few_lines, hello, sum,
    wait_until,
};

const VEHICLES: usize = 300;

fn builder() -> Builder {
    Daemon::builder()
        .set("store.commit_timeout=1s")
        .set("store.heartbeat_flush=500ms")
        .set("shutdown.grace=2s")
}

fn ids(prefix: &str, count: usize) -> impl Iterator<Item = String> {
    (0..count).map(move |index| format!("{prefix}-{index}"))
}

/// Has devices that log in, without a wait for the answers.
fn devices_that_log_in(daemon: &Daemon) -> Vec<Device> {
    let devices = ids("truck", VEHICLES).map(|id| {
        let mut device = daemon.connect();
        device.say(&hello(&id));
        device
    });
    devices.collect()
}

/// Stops the daemon, and returns its log from this line on.
#[track_caller]
fn stop(mut daemon: Daemon, from: usize) -> Vec<Value> {
    daemon.signal("TERM");
    daemon.wait();
    daemon.log().split_off(from)
}

#[test]
fn a_locked_database_costs_a_few_lines_whatever_the_fleet() {
    const PATIENT: usize = 10;
    const ROUNDS: usize = 3;
    let daemon = builder().start();
    let mut reporting: Vec<_> = ids("truck", VEHICLES)
        .map(|id| daemon.log_in(&id))
        .collect();
    let mut patient: Vec<_> = ids("van", PATIENT).map(|id| daemon.log_in(&id)).collect();
    let before = daemon.log().len();
    let lock = Lock::take(&daemon.database());
    for device in &mut reporting {
        device.say(REPORT);
    }
    for device in &mut patient {
        device.ping();
    }
    for device in &mut reporting {
        device.expect_closed();
    }
    // Some hang up before the gateway gives up, and come again.
    drop(devices_that_log_in(&daemon));
    for _ in 0..ROUNDS {
        for device in &mut devices_that_log_in(&daemon) {
            device.expect_closed();
        }
        for device in &mut patient {
            device.ping();
        }
    }
    daemon.logged("heartbeats not stored");
    drop(lock);
    daemon.logged("the database commits again");

    let vehicles = VEHICLES as u64;
    let attempts = vehicles * (ROUNDS as u64 + 1);
    // No login succeeds or fails any more: the numbers have lines of their own after a while. An attempt to commit that was
    // under way at the end may have stored logins of devices that had gone: their sessions ended at once.
    let log = wait_until("the numbers are logged", || {
        daemon.json("/");
        let log = daemon.log().split_off(before);
        let failed = sum(&log, "cannot store a login", "failed");
        let ended = sum(&log, "vehicle disconnected", "vehicles");
        (ended >= vehicles && failed + ended == attempts + vehicles).then_some(log)
    });
    expect_few_lines(&log);
    assert!(sum(&log, "heartbeats not stored", "heartbeats") >= PATIENT as u64);
    let offline = "SELECT count(*) FROM vehicles WHERE online = 0";
    wait_until("the ends of the sessions are stored", || {
        (daemon.query(offline) == [VEHICLES.to_string()]).then_some(())
    });
}

#[test]
fn a_stop_while_the_database_is_locked_costs_a_few_lines() {
    let daemon = builder().start();
    let mut devices: Vec<_> = ids("truck", VEHICLES)
        .map(|id| daemon.log_in(&id))
        .collect();
    let before = daemon.log().len();
    let _lock = Lock::take(&daemon.database());
    for device in &mut devices {
        device.say(REPORT);
    }
    for device in &mut devices {
        device.expect_closed();
    }
    let log = stop(daemon, before);
    expect_few_lines(&log);
    let vehicles = VEHICLES as u64;
    assert_eq!(sum(&log, "vehicle disconnected", "vehicles"), vehicles);
}

#[test]
fn logins_that_were_given_up_and_are_stored_cost_a_few_lines() {
    let daemon = Daemon::builder()
        .set("log.filter=info,vehicle_gateway::store=debug")
        .set("shutdown.grace=2s")
        .start();
    let before = daemon.log().len();
    let lock = Lock::take(&daemon.database());
    for _ in 0..2 {
        drop(devices_that_log_in(&daemon));
    }
    // An attempt lasts a second.
    daemon.logged("the database still cannot commit");
    drop(lock);
    let offline = "SELECT count(*) FROM vehicles WHERE online = 0";
    wait_until("the logins are stored", || {
        let is_over = daemon.query(offline) == [VEHICLES.to_string()];
        (is_over && daemon.connection_count() == 0).then_some(())
    });
    let log = stop(daemon, before);
    expect_few_lines(&log);
    let vehicles = VEHICLES as u64;
    let began = sum(&log, "vehicle connected", "vehicles");
    assert!((vehicles..=2 * vehicles).contains(&began), "{began}");
    assert_eq!(sum(&log, "vehicle disconnected", "vehicles"), began);
}

#[test]
fn commands_that_cannot_be_sent_cost_a_few_lines() {
    const COMMANDED: usize = 30;
    let daemon = builder().start();
    for id in ids("truck", COMMANDED) {
        drop(daemon.log_in(&id));
        daemon.wait_until_offline(&id);
        let queued = daemon.send_command(
            &format!("{id}/turnOn"),
            &json!({ "queue": true, "ttlSeconds": 60 }),
        );
        assert_eq!(queued.status, 202);
        let interval = daemon.send_command(&format!("{id}/frequency"), &json!({ "seconds": 30 }));
        assert_eq!(interval.status, 202);
    }
    let before = daemon.log().len();
    for (name, event) in [("a", "UPDATE"), ("b", "INSERT")] {
        let refuse = format!(
            "CREATE TRIGGER {name} BEFORE {event} ON commands WHEN NEW.state = 'sent' \
             BEGIN SELECT RAISE(ABORT, 'refused'); END"
        );
        change(&daemon.database_url(), &refuse);
    }
    let devices: Vec<_> = ids("truck", COMMANDED)
        .map(|id| daemon.log_in(&id))
        .collect();
    let messages = [
        ("queued command not sent until the next login", "commands"),
        ("desired report interval not sent", "attempts"),
    ];
    let log = wait_until("the numbers are logged", || {
        daemon.json("/");
        let log = daemon.log().split_off(before);
        let are_logged = messages.map(|(message, field)| sum(&log, message, field));
        (are_logged == [COMMANDED as u64; 2]).then_some(log)
    });
    drop(devices);
    let is_about_commands = |line: &&Value| line["message"] != "vehicle connected";
    let log: Vec<_> = log.iter().filter(is_about_commands).cloned().collect();
    expect_few_lines(&log);
}

#[test]
fn requests_that_fail_cost_a_few_lines() {
    const REQUESTS: usize = 50;
    let daemon = builder().start();
    drop(daemon.log_in("truck"));
    daemon.wait_until_offline("truck");
    let before = daemon.log().len();
    change(
        &daemon.database_url(),
        "ALTER TABLE reports RENAME COLUMN battery TO gone",
    );
    for _ in 0..REQUESTS {
        assert_eq!(daemon.get("/vehicles/truck/reports").status(), 500);
    }
    let log = stop(daemon, before);
    expect_few_lines(&log);
    assert_eq!(sum(&log, "request failed", "requests"), REQUESTS as u64);
}

#[test]
fn endpoints_that_fail_together_cost_a_few_lines() {
    const ENDPOINTS: usize = 100;
    let receiver = Receiver::start(|_| 500);
    let daemon = builder()
        .set("webhooks.allow_http=true")
        .set("webhooks.allow_private=true")
        .set(r#"webhooks.retry_schedule=["0s", "1h"]"#)
        .start();
    for number in 0..ENDPOINTS {
        let url = format!("{}?{number}", receiver.url());
        let body = json!({ "url": url, "secret": Receiver::SECRET, "events": ["online"] });
        assert_eq!(daemon.post("/webhooks", &body).status(), 201);
    }
    let before = daemon.log().len();
    let _device = daemon.log_in("truck");
    receiver.wait_for("every endpoint", |received| {
        let ids: HashSet<&str> = received.iter().map(|message| &*message.id).collect();
        ids.len() == ENDPOINTS
    });
    let failing = || {
        let list = daemon.json("/webhooks?limit=1000");
        let items = list["items"].as_array().unwrap().clone();
        items.iter().filter(|item| item["failures"] != 0).count()
    };
    wait_until("all have failed", || (failing() == ENDPOINTS).then_some(()));
    let log = stop(daemon, before);
    expect_few_lines(&log);
    let failed = sum(
        &log,
        "webhook fails; messages wait and are sent again",
        "times",
    );
    assert_eq!(failed, ENDPOINTS as u64);
}
