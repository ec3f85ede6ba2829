//! What gateways do while Redis or the database is away.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{DECLARED_DEAD, Obedient, REPORT, THANKS, offline, watched};
use crate::support::{Cluster, Database, Device, LEASE, on_every_server, wait_until};

on_every_server! {
    while_the_database_is_away_or_stalls_nobody_is_taken_for_dead_and_no_vehicle_for_offline,
}

/// Without Redis, until it is back.
fn without_redis(stop: impl Fn(&Cluster), start: impl Fn(&Cluster)) {
    let cluster = watched(&Database::mariadb(), 2);
    let mut here = cluster.log_in_at(0, "here");
    let there = Obedient::new(cluster.log_in_at(1, "there"));
    let remote = || {
        let since = Instant::now();
        let body = json!({"timeoutSeconds": 3});
        let answer = cluster.instance(0).operate("there/turnOn", &body);
        assert!(
            since.elapsed() < Duration::from_secs(4),
            "{:?}",
            since.elapsed()
        );
        answer
    };
    assert_eq!(remote().told(), (200, "done"));
    stop(&cluster);

    here.say(REPORT);
    here.expect(THANKS);
    let asked = cluster.instance(0).ask("here/turnOn", &json!({}));
    here.expect("HEY YOU, RUN!");
    here.say("DONE!");
    assert_eq!(asked.answer().told(), (200, "done"));
    for _ in 0..3 {
        let answer = remote();
        let told = answer.told();
        assert!(
            told == (503, "fan-out-unavailable") || told == (503, "owner-unreachable"),
            "{told:?}"
        );
    }
    assert_eq!(cluster.instance(0).get("/ready").status(), 200);
    // Logins go on, and what was connected stays.
    let new = Obedient::new(cluster.log_in_at(1, "new"));
    assert_eq!(there.heard(), ["HEY YOU, RUN!"]);

    start(&cluster);
    wait_until("commands go through again", || {
        (remote().told() == (200, "done")).then_some(())
    });
    let answer = cluster.instance(0).operate("new/turnOn", &json!({}));
    assert_eq!(answer.told(), (200, "done"));
    assert_eq!(new.heard(), ["HEY YOU, RUN!"]);
    // What was answered 503 is not said after all.
    let states = cluster.instance(0).states("there");
    let done = states.iter().filter(|state| *state == "done").count();
    assert_eq!(there.heard().len(), done, "{states:?}");
    here.say("PING.");
    here.expect("PONG.");
    for id in ["here", "there", "new"] {
        assert_eq!(offline(&cluster, id), 0, "{id}");
    }
}

#[test]
fn while_redis_is_away_vehicles_stay_and_commands_to_other_instances_are_refused_in_time() {
    without_redis(
        |cluster| cluster.redis().kill(),
        |cluster| cluster.redis().restart(),
    );
}

#[test]
fn while_redis_stands_still_vehicles_stay_and_commands_to_other_instances_are_refused_in_time() {
    without_redis(
        |cluster| cluster.redis().pause(),
        |cluster| cluster.redis().resume(),
    );
}

/// Reports as often as it is thanked, until it is told to stop; returns how often that was, and the device, still connected.
fn report_on_and_on(
    mut device: Device,
    thanked: &AtomicUsize,
    over: &AtomicBool,
) -> (usize, Device) {
    let mut thanks = 0;
    while !over.load(Ordering::Relaxed) {
        device.say(REPORT);
        device.expect(THANKS);
        thanks += 1;
        thanked.fetch_add(1, Ordering::Relaxed);
    }
    (thanks, device)
}

fn while_the_database_is_away_or_stalls_nobody_is_taken_for_dead_and_no_vehicle_for_offline(
    database: &Database,
) {
    // Much longer than a lease.
    const STALL: Duration = Duration::from_secs(8);
    let cluster = watched(database, 3);
    let thanked = Arc::new(AtomicUsize::new(0));
    let over = Arc::new(AtomicBool::new(false));
    let reporters: Vec<_> = (0..6)
        .map(|n| {
            let device = cluster.log_in_at(n % 3, &format!("truck-{n}"));
            let (thanked, over) = (Arc::clone(&thanked), Arc::clone(&over));
            thread::spawn(move || report_on_and_on(device, &thanked, &over))
        })
        .collect();
    let some_more = || {
        let before = thanked.load(Ordering::Relaxed);
        wait_until("some more are thanked", || {
            (thanked.load(Ordering::Relaxed) > before + 60).then_some(())
        });
    };
    some_more();
    database.server().kill();
    database.server().restart();
    some_more();
    database.server().stall();
    // For its length: nothing is waited for.
    assert!(STALL > 2 * LEASE);
    thread::sleep(STALL);
    database.server().resume();
    some_more();
    for index in 0..3 {
        wait_until("it is ready", || {
            (cluster.instance(index).get("/ready").status() == 200).then_some(())
        });
        let log = cluster.log(index);
        let dead = log
            .iter()
            .find(|line| line.to_string().contains(DECLARED_DEAD));
        assert_eq!(dead, None);
    }
    over.store(true, Ordering::Relaxed);
    let reporters: Vec<_> = reporters
        .into_iter()
        .map(|reporter| reporter.join().unwrap())
        .collect();
    for (n, (thanks, _)) in reporters.iter().enumerate() {
        let id = format!("truck-{n}");
        let stored = cluster.query(&format!(
            "SELECT count(*) FROM reports WHERE device_id = '{id}'"
        ));
        assert_eq!(stored, [thanks.to_string()], "{id}");
        assert_eq!(offline(&cluster, &id), 0, "{id}");
    }
}
