//! Messages that wait for a slow receiver.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::json;

use super::{
    ALLOW_TEST_RECEIVERS, POSITION, create_endpoint, expect_every_move_delivered, position_report,
};
use crate::support::{Daemon, Database, Reaction, Receiver, change, on_every_database, setting};

on_every_database! {
    long_the_next_of_a_hundred_thousand_messages_is_found_by_an_index,
}

/// A receiver that does not answer until the flag is cleared.
fn hanging() -> (Receiver, Arc<AtomicBool>) {
    let hangs = Arc::new(AtomicBool::new(true));
    let now = Arc::clone(&hangs);
    let receiver = Receiver::start(move |_| {
        if now.load(Ordering::SeqCst) {
            Reaction::Silence
        } else {
            Reaction::Answer(200)
        }
    });
    (receiver, hangs)
}

#[test]
fn long_a_hanging_receiver_delays_nothing_else_and_catches_up() {
    const REPORTS: usize = 40;
    let vehicles: Vec<String> = (0..100).map(|nth| format!("truck-{nth}")).collect();
    let (slow, hangs) = hanging();
    let quick = Receiver::start(|_| 200);
    let daemon = Daemon::builder()
        .set(&setting(&[(&slow, POSITION), (&quick, POSITION)]))
        .set("webhooks.timeout=2s")
        .start();
    let mut devices: Vec<_> = vehicles.iter().map(|id| daemon.log_in(id)).collect();
    for device in &mut devices {
        device.say(&position_report(0));
        device.expect("OK, THANKS!");
    }
    slow.wait_for("messages are in flight", |received| !received.is_empty());
    for nth in 1..REPORTS {
        for device in &mut devices {
            device.say(&position_report(nth));
        }
        for device in &mut devices {
            device.expect("OK, THANKS!");
        }
    }
    expect_every_move_delivered(&quick, |sql| daemon.query(sql), &vehicles);
    assert!(
        slow.received()
            .iter()
            .all(|message| !message.is_delivered())
    );
    hangs.store(false, Ordering::SeqCst);
    let all = vehicles.len() * REPORTS;
    slow.wait_for_within(
        Duration::from_mins(2),
        "all messages are delivered",
        |received| {
            let delivered = received.iter().filter(|message| message.is_delivered());
            delivered.count() >= all
        },
    );
    expect_every_move_delivered(&slow, |sql| daemon.query(sql), &vehicles);
}

#[test]
fn pending_messages_take_no_memory() {
    const VEHICLES: usize = 10;
    const DUMPS: usize = 400;
    const MIB: u64 = 1 << 20;
    let (slow, _hangs) = hanging();
    let daemon = Daemon::builder()
        .set(&slow.setting(&["debug-blob"]))
        .start();
    let mut devices: Vec<_> = (0..VEHICLES)
        .map(|nth| daemon.log_in(&format!("truck-{nth}")))
        .collect();
    // The largest blobs that a message contains.
    let dump = ["WTF! 12000\n", &"x".repeat(12_000)].concat();
    let mut say = |dumps: usize| {
        for _ in 0..dumps {
            for device in &mut devices {
                device.say(&dump);
            }
            for device in &mut devices {
                device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
            }
        }
    };
    say(DUMPS / 10);
    let before = daemon.memory();
    say(DUMPS);
    // These are 64 MB of messages.
    let grown = daemon.memory().saturating_sub(before);
    assert!(grown < 24 * MIB, "{} KiB", grown / 1024);
    assert!(slow.count() <= 32);
}

fn long_the_next_of_a_hundred_thousand_messages_is_found_by_an_index(database: &Database) {
    const LANES: usize = 10_000;
    const EACH: usize = 10;
    const ENOUGH: usize = 3_000;
    let receiver = Receiver::start(|_| 200);
    let daemon = Daemon::on(database)
        .set(ALLOW_TEST_RECEIVERS[0])
        .set(ALLOW_TEST_RECEIVERS[1])
        .start();
    let path = create_endpoint(&daemon, &receiver, &json!({ "events": ["online"] }));
    assert_eq!(
        daemon.patch(&path, &json!({ "enabled": false })).status(),
        200
    );
    let url = daemon.database_url();
    fill(&url, path.trim_start_matches("/webhooks/"), LANES, EACH);
    assert_eq!(daemon.json(&path)["pending"], LANES * EACH);
    change(
        &url,
        "UPDATE webhook_endpoints SET disabled_at = NULL, disabled_reason = NULL",
    );
    database.log_query_plans(&url);
    // New connections log their query plans.
    let daemon = daemon.kill_and_restart();
    receiver.wait_for("enough messages", |received| received.len() >= ENOUGH);
    drop(daemon);
    database.expect_indexes(&url, &["webhook_lanes", "webhook_messages"]);
    let mut newest = std::collections::HashMap::new();
    for message in receiver.received() {
        let before = newest.insert(message.device_id().to_owned(), message.sequence());
        assert_eq!(message.sequence(), before.unwrap_or(0) + 1);
    }
}

/// Inserts `each` pending messages for each of `lanes` vehicles at an endpoint.
fn fill(url: &str, endpoint: &str, lanes: usize, each: usize) {
    let now = jiff::Timestamp::now().as_millisecond();
    let messages = lanes * each;
    let numbers = |most: usize| match url.split(':').next() {
        Some("mysql") => format!("(SELECT seq AS n FROM seq_1_to_{most}) AS numbers"),
        Some("postgres") => format!("generate_series(1, {most}) AS numbers(n)"),
        _ => format!(
            "(WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r WHERE n < {most}) \
             SELECT n FROM r) AS numbers"
        ),
    };
    let (concat, text) = match url.split(':').next() {
        Some("mysql") => ("CONCAT", "CHAR"),
        _ => ("concat", "TEXT"),
    };
    let padded = match url.split(':').next() {
        Some("sqlite") => "printf('%012d', n)".to_owned(),
        _ => format!("LPAD(CAST(n AS {text}), 12, '0')"),
    };
    let device = format!("{concat}('truck-', CAST(n % {lanes} AS {text}))");
    // The first messages of all vehicles, then the second ones, and so on.
    let sequence = match url.split(':').next() {
        Some("mysql") => format!("((n - 1) DIV {lanes} + 1)"),
        _ => format!("((n - 1) / {lanes} + 1)"),
    };
    change(
        url,
        &format!(
            "INSERT INTO webhook_lanes (endpoint_id, device_id, last_sequence, pending, due) \
             SELECT '{endpoint}', {device}, {each}, {each}, {now} FROM {}",
            numbers(lanes)
        ),
    );
    change(
        url,
        &format!(
            "INSERT INTO webhook_messages \
             (id, endpoint_id, device_id, sequence, kind, state, body, created_at, due) \
             SELECT {concat}('01900000-0000-7000-8000-', {padded}), '{endpoint}', {device}, {sequence}, \
             'vehicle.online', 0, \
             {concat}('{{\"type\":\"vehicle.online\",\"data\":{{\"deviceId\":\"', {device}, '\",\"sequence\":', \
             CAST({sequence} AS {text}), '}}}}'), {now}, {now} FROM {}",
            numbers(messages)
        ),
    );
}
