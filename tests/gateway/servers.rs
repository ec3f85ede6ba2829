//! What only a database on a server can do to the gateway.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::json;

use crate::support::{Daemon, Database, Device, hello, on_every_server, wait_until};

const REPORT: &str = "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.";
const THANKS: &str = "OK, THANKS!";
const CANNOT_COMMIT: &str = "the database cannot commit; nothing is acknowledged until it does";

on_every_server! {
    while_the_server_is_away_nothing_is_thanked_and_all_is_well_when_it_is_back,
    a_server_that_stalls_holds_up_what_waits_and_loses_nothing,
    no_report_is_thanked_and_lost_or_stored_twice_when_the_server_dies_over_commits,
    a_second_gateway_takes_the_database_over_and_the_first_one_stops,
    gateways_that_start_at_once_on_an_empty_database_make_one_schema,
    ids_and_blobs_are_kept_byte_by_byte,
}

fn while_the_server_is_away_nothing_is_thanked_and_all_is_well_when_it_is_back(
    database: &Database,
) {
    let daemon = Daemon::on(database).start();
    let mut device = daemon.log_in("truck");
    database.server().kill();
    device.say(REPORT);
    daemon.logged(CANNOT_COMMIT);
    assert_eq!(daemon.get("/ready").status(), 503);
    assert_eq!(daemon.get("/health").status(), 200);
    database.server().restart();
    device.expect(THANKS);
    daemon.logged("the database commits again");
    wait_until("ready", || {
        (daemon.get("/ready").status() == 200).then_some(())
    });
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
    let asked = daemon.ask("truck/turnOn", &json!({}));
    device.expect("HEY YOU, RUN!");
    device.say("DONE!");
    assert_eq!(asked.answer().status, 200);
}

fn a_server_that_stalls_holds_up_what_waits_and_loses_nothing(database: &Database) {
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
    let mut devices: Vec<Device> = (0..20)
        .map(|n| daemon.log_in(&format!("truck-{n}")))
        .collect();
    database.server().stall();
    for device in &mut devices {
        device.say(REPORT);
    }
    // Longer than the gateway waits for one answer.
    daemon.logged(CANNOT_COMMIT);
    database.server().resume();
    for device in &mut devices {
        device.expect(THANKS);
    }
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["20"]);
}

/// Reports as fast as it is thanked, until the connection breaks or enough is thanked.
fn report_until_it_breaks(
    mut device: Device,
    id: &str,
    thanked: &AtomicUsize,
    enough: usize,
) -> usize {
    device.say(&hello(id));
    let mut thanks = 0;
    if device.line().is_none() {
        return 0;
    }
    while thanked.load(Ordering::Relaxed) < enough && device.try_say(REPORT) {
        match device.line().as_deref() {
            Some(THANKS) => thanks += 1,
            _ => break,
        }
        thanked.fetch_add(1, Ordering::Relaxed);
    }
    thanks
}

fn no_report_is_thanked_and_lost_or_stored_twice_when_the_server_dies_over_commits(
    database: &Database,
) {
    const DEVICES: usize = 8;
    const ROUNDS: usize = 5;
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
    let thanked = AtomicUsize::new(0);
    let enough = 300 * (ROUNDS + 1);
    let counts: Vec<usize> = thread::scope(|scope| {
        let devices: Vec<_> = (0..DEVICES)
            .map(|index| {
                let (device, thanked) = (daemon.connect(), &thanked);
                let id = format!("truck-{index}");
                scope.spawn(move || report_until_it_breaks(device, &id, thanked, enough))
            })
            .collect();
        for round in 1..=ROUNDS {
            wait_until("some more are thanked", || {
                (thanked.load(Ordering::Relaxed) >= 300 * round).then_some(())
            });
            database.server().kill();
            database.server().restart();
        }
        devices
            .into_iter()
            .map(|device| device.join().unwrap())
            .collect()
    });
    // Each waits for its thanks before it reports again, and none was closed: so the numbers are the same.
    for (index, thanks) in counts.into_iter().enumerate() {
        let stored = daemon.query(&format!(
            "SELECT count(*) FROM reports WHERE device_id = 'truck-{index}'"
        ));
        assert_eq!(stored, [thanks.to_string()], "truck-{index}");
    }
}

fn a_second_gateway_takes_the_database_over_and_the_first_one_stops(database: &Database) {
    let mut first = Daemon::on(database).start();
    let mut device = first.log_in("truck");
    let second = first.again().start();
    assert_eq!(second.vehicle("truck")["disconnectReason"], "instance-lost");
    // Neither stored nor thanked.
    device.try_say(REPORT);
    assert!(!first.wait().success());
    first.logged("stopping: another gateway has taken the database, and one at a time may write");
    assert_ne!(device.line().as_deref(), Some(THANKS));
    assert_eq!(second.query("SELECT count(*) FROM reports"), ["0"]);
    second.log_in("truck");
    assert_eq!(second.query("SELECT session_epoch FROM vehicles"), ["2"]);
}

fn gateways_that_start_at_once_on_an_empty_database_make_one_schema(database: &Database) {
    let first = Daemon::on(database);
    let (first, others) = thread::scope(|scope| {
        let others = [first.beside(), first.beside()].map(|other| scope.spawn(|| other.start()));
        (first.start(), others.map(|other| other.join().unwrap()))
    });
    // All have opened their ports; one of them may write.
    let alive = first.query("SELECT count(*) FROM instances WHERE state = 'live'");
    assert_eq!(alive, ["1"]);
    drop(others);
    first.again().start().log_in("truck");
}

fn ids_and_blobs_are_kept_byte_by_byte(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut small = daemon.log_in("truck");
    let mut large = daemon.log_in("TRUCK");
    let blob: Vec<u8> = (0..=u8::MAX).cycle().take(200_000).collect();
    large.say(&format!("WTF! {}\n", blob.len()));
    large.send(&blob);
    large.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    small.say("WTF! 0\n");
    small.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    let ids = daemon.json("/vehicles");
    let ids = ids["items"].as_array().unwrap().iter();
    let ids: Vec<&str> = ids.map(|item| item["deviceId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["TRUCK", "truck"], "sorted byte by byte");
    let kept = daemon.json("/vehicles/TRUCK/debug-blobs");
    let id = kept["items"][0]["blobId"].as_i64().unwrap();
    let bytes = daemon
        .get(&format!("/vehicles/TRUCK/debug-blobs/{id}"))
        .bytes();
    assert_eq!(bytes.unwrap(), blob);
}
