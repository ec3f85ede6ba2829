//! Receivers that are away for long: what is not stored for them, what expires, and how they catch up.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};

use super::{create_endpoint, position_report, start_daemon, wait_for_messages};
use crate::support::{Daemon, Database, Received, Receiver, on_every_database, wait_until};

/// On a server, an endpoint catches up after 25 s.
const CATCH_UP: Duration = Duration::from_mins(1);

on_every_database! {
    the_oldest_of_too_many_pending_messages_expire,
    an_endpoint_that_is_behind_costs_no_row_and_catches_up,
}

/// A receiver that fails until the flag is set.
fn away() -> (Receiver, Arc<AtomicBool>) {
    let works = Arc::new(AtomicBool::new(false));
    let now = Arc::clone(&works);
    let answer = move |_| if now.load(Ordering::SeqCst) { 200 } else { 500 };
    (Receiver::start(answer), works)
}

/// Waits until the endpoint at `path` is as wanted; returns it.
#[track_caller]
fn wait_for_endpoint(
    daemon: &Daemon,
    path: &str,
    what: &str,
    is_wanted: impl Fn(&Value) -> bool,
) -> Value {
    wait_until(what, || Some(daemon.json(path)).filter(|it| is_wanted(it)))
}

fn the_oldest_of_too_many_pending_messages_expire(database: &Database) {
    const ALLOWED: usize = 100;
    const SURPLUS: usize = 50;
    let (receiver, works) = away();
    let daemon = start_daemon(database, &["webhooks.max_pending=100"]);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["position"] }));
    let mut device = daemon.log_in("truck");
    for nth in 0..ALLOWED + SURPLUS {
        device.say(&position_report(nth));
        device.expect("OK, THANKS!");
    }
    let full = wait_for_endpoint(&daemon, &path, "the surplus has expired", |it| {
        it["expired"] == SURPLUS
    });
    assert_eq!(full["pending"], ALLOWED);
    daemon.logged_containing("webhook messages expired, the oldest first");
    works.store(true, Ordering::SeqCst);
    let enabled = daemon.patch(&path, &json!({ "enabled": true }));
    assert_eq!(enabled.status(), 200);
    let delivered = receiver.wait_for_delivered(ALLOWED);
    let sequences = delivered.iter().map(Received::sequence);
    let wanted = SURPLUS + 1..=SURPLUS + ALLOWED;
    assert!(sequences.eq(wanted.map(|sequence| i64::try_from(sequence).unwrap())));
    wait_for_endpoint(&daemon, &path, "nothing is pending", |it| {
        it["pending"] == 0
    });
}

fn an_endpoint_that_is_behind_costs_no_row_and_catches_up(database: &Database) {
    const REPORTS: usize = 30;
    let (receiver, works) = away();
    let daemon = start_daemon(database, &["webhooks.coalesce_after=0s"]);
    let path = create_endpoint(
        &daemon,
        &receiver,
        &json!({ "events": ["position", "online"] }),
    );
    let mut devices = ["car", "truck"].map(|id| daemon.log_in(id));
    wait_for_endpoint(&daemon, &path, "the endpoint is behind", |it| {
        it["behindSince"].is_string()
    });
    daemon.logged_containing("webhook is behind");
    for nth in 0..REPORTS {
        for device in &mut devices {
            device.say(&position_report(nth));
            device.expect("OK, THANKS!");
        }
    }
    // A vehicle that comes online is reported all the same.
    let _bus = daemon.log_in("bus");
    let pending = wait_for_messages(&daemon, &path, "pending", 3);
    for message in &pending {
        assert_eq!(message["type"], "vehicle.online", "{pending:?}");
    }
    works.store(true, Ordering::SeqCst);
    receiver.wait_for_within(CATCH_UP, "both vehicles are reported", |received| {
        let delivered = received.iter().filter(|message| message.is_delivered());
        delivered.count() >= 5
    });
    let mut told: BTreeMap<String, Vec<(i64, Value)>> = BTreeMap::new();
    for message in receiver.received() {
        if message.is_delivered() {
            let of_vehicle = told.entry(message.device_id().to_owned()).or_default();
            let longitude = message.body["data"]["vehicle"]["longitude"].clone();
            of_vehicle.push((message.sequence(), longitude));
        }
    }
    let last = json!(0.029);
    for id in ["car", "truck"] {
        assert_eq!(told[id].len(), 2, "{told:?}");
        assert_eq!(told[id][1], (2, last.clone()), "{told:?}");
    }
    assert_eq!(told["bus"].len(), 1);
    daemon.logged_containing("webhook has caught up");
    wait_for_endpoint(&daemon, &path, "the endpoint is up to date", |it| {
        it["behindSince"].is_null() && it["pending"] == 0
    });
    // From now on each change is a message again.
    let before = receiver.count();
    devices[0].say(&position_report(REPORTS));
    receiver.wait_for("the next change", |received| received.len() > before);
}

#[test]
fn an_endpoint_without_pending_messages_is_not_left_behind() {
    let (receiver, works) = away();
    let settings = [
        "webhooks.coalesce_after=0s",
        r#"webhooks.retry_schedule=["0s"]"#,
    ];
    let daemon = start_daemon(&Database::File, &settings);
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["position"] }));
    let mut device = daemon.log_in("truck");
    device.say(&position_report(1));
    device.expect("OK, THANKS!");
    wait_for_messages(&daemon, &path, "failed", 1);
    works.store(true, Ordering::SeqCst);
    device.say(&position_report(2));
    device.expect("OK, THANKS!");
    let delivered = receiver.wait_for_delivered(1).pop().unwrap();
    assert_eq!(delivered.body["data"]["vehicle"]["longitude"], 0.002);
}
