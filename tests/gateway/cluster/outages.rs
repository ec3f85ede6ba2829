//! Outages of Redis and of the database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use super::{DECLARED_DEAD, ObedientVehicle, audited, offline_count};
use crate::support::{
    Cluster, Daemon, Database, Device, LEASE, REPORT, RUN, THANKS, hello, on_every_server,
    wait_until,
};

on_every_server! {
    a_database_outage_declares_no_instance_dead_and_no_vehicle_offline,
    long_a_stalled_database_neither_fills_memory_nor_loses_reports,
}

/// Checks local and remote commands during an outage of Redis of this length, and after it.
fn without_redis(length: Duration, stop: impl Fn(&Cluster), start: impl Fn(&Cluster)) {
    let cluster = audited(&Database::mariadb(), 2);
    let mut here = cluster.log_in_at(0, "here");
    let there = ObedientVehicle::new(cluster.log_in_at(1, "there"));
    let remote = || {
        let since = Instant::now();
        let body = json!({"timeoutSeconds": 3});
        let answer = cluster.instance(0).send_command("there/turnOn", &body);
        assert!(
            since.elapsed() < Duration::from_secs(4),
            "{:?}",
            since.elapsed()
        );
        answer
    };
    assert_eq!(remote().outcome(), (200, "done"));
    stop(&cluster);
    let until = Instant::now() + length;

    here.say(REPORT);
    here.expect(THANKS);
    let pending = cluster.instance(0).start_command("here/turnOn", &json!({}));
    here.expect(RUN);
    here.say("DONE!");
    assert_eq!(pending.response().outcome(), (200, "done"));
    while Instant::now() < until {
        let answer = remote();
        let outcome = answer.outcome();
        assert!(
            outcome == (503, "fan-out-unavailable") || outcome == (503, "owner-unreachable"),
            "{outcome:?}"
        );
        here.say(REPORT);
        here.expect(THANKS);
    }
    assert_eq!(cluster.instance(0).get("/ready").status(), 200);
    // Logins succeed, and connections stay.
    let new = ObedientVehicle::new(cluster.log_in_at(1, "new"));
    assert_eq!(there.received(), [RUN]);

    start(&cluster);
    wait_until("remote commands succeed again", || {
        (remote().outcome() == (200, "done")).then_some(())
    });
    let answer = cluster.instance(0).send_command("new/turnOn", &json!({}));
    assert_eq!(answer.outcome(), (200, "done"));
    assert_eq!(new.received(), [RUN]);
    // A command that failed with 503 is not sent later.
    let states = cluster.instance(0).command_states("there");
    let done = states.iter().filter(|state| *state == "done").count();
    assert_eq!(there.received().len(), done, "{states:?}");
    here.ping();
    for id in ["here", "there", "new"] {
        assert_eq!(offline_count(&cluster, id), 0, "{id}");
    }
}

#[test]
fn long_without_redis_vehicles_stay_and_remote_commands_fail_in_time() {
    without_redis(
        Duration::from_mins(1),
        |cluster| cluster.redis().kill(),
        |cluster| cluster.redis().restart(),
    );
}

#[test]
fn while_redis_hangs_vehicles_stay_and_remote_commands_fail_in_time() {
    without_redis(
        Duration::from_secs(6),
        |cluster| cluster.redis().pause(),
        |cluster| cluster.redis().resume(),
    );
}

/// Sends a report whenever the previous one is acknowledged, until `is_over`. Returns the number of reports, and the
/// device, still connected.
fn report_until(
    mut device: Device,
    acknowledged: &AtomicUsize,
    is_over: &AtomicBool,
) -> (usize, Device) {
    let mut acknowledgements = 0;
    while !is_over.load(Ordering::Relaxed) {
        device.say(REPORT);
        device.expect(THANKS);
        acknowledgements += 1;
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    (acknowledgements, device)
}

fn a_database_outage_declares_no_instance_dead_and_no_vehicle_offline(database: &Database) {
    // Much longer than a lease.
    const STALL: Duration = Duration::from_secs(8);
    let cluster = audited(database, 3);
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let is_over = Arc::new(AtomicBool::new(false));
    let reporters: Vec<_> = (0..6)
        .map(|n| {
            let device = cluster.log_in_at(n % 3, &format!("truck-{n}"));
            let (acknowledged, is_over) = (Arc::clone(&acknowledged), Arc::clone(&is_over));
            thread::spawn(move || report_until(device, &acknowledged, &is_over))
        })
        .collect();
    let wait_for_progress = || {
        let before = acknowledged.load(Ordering::Relaxed);
        wait_until("more reports are acknowledged", || {
            (acknowledged.load(Ordering::Relaxed) > before + 60).then_some(())
        });
    };
    wait_for_progress();
    database.server().kill();
    database.server().restart();
    wait_for_progress();
    database.server().stall();
    // The length of the stall is what is tested: there is no condition to wait for.
    assert!(STALL > 2 * LEASE);
    thread::sleep(STALL);
    database.server().resume();
    wait_for_progress();
    for index in 0..3 {
        wait_until("the instance is ready", || {
            (cluster.instance(index).get("/ready").status() == 200).then_some(())
        });
        let log = cluster.log(index);
        let dead = log
            .iter()
            .find(|line| line.to_string().contains(DECLARED_DEAD));
        assert_eq!(dead, None);
    }
    is_over.store(true, Ordering::Relaxed);
    let reporters: Vec<_> = reporters
        .into_iter()
        .map(|reporter| reporter.join().unwrap())
        .collect();
    for (n, (acknowledgements, _)) in reporters.iter().enumerate() {
        let id = format!("truck-{n}");
        let stored = cluster.query(&format!(
            "SELECT count(*) FROM reports WHERE device_id = '{id}'"
        ));
        assert_eq!(stored, [acknowledgements.to_string()], "{id}");
        assert_eq!(offline_count(&cluster, &id), 0, "{id}");
    }
}

/// The reports of one device over all its connections.
#[derive(Default)]
struct Counts {
    said: usize,
    acknowledged: usize,
}

/// Sends reports in groups and waits for their acknowledgements, reconnecting as needed, until `is_over`.
fn report_over_reconnects(
    connect: impl Fn() -> Device,
    id: &str,
    acknowledged: &AtomicUsize,
    is_over: &AtomicBool,
) -> Counts {
    const AT_ONCE: usize = 8;
    let reports = format!("{REPORT}\n").repeat(AT_ONCE);
    let mut counts = Counts::default();
    while !is_over.load(Ordering::Relaxed) {
        let mut device = connect();
        let mut lives = device.try_say(&hello(id)) && device.line().is_some();
        while lives && !is_over.load(Ordering::Relaxed) {
            counts.said += AT_ONCE;
            lives = device.try_send(reports.as_bytes());
            for _ in 0..AT_ONCE {
                lives = lives && device.line().as_deref() == Some(THANKS);
                counts.acknowledged += usize::from(lives);
                acknowledged.fetch_add(usize::from(lives), Ordering::Relaxed);
            }
        }
    }
    counts
}

/// Stops the reporters when dropped, also by a failure of the test.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn long_a_stalled_database_neither_fills_memory_nor_loses_reports(database: &Database) {
    const STALL: Duration = Duration::from_secs(30);
    const DUMP: usize = 100_000;
    // Much more than the gateways may queue (`store.queue`, 16 MiB each).
    const DUMPERS: usize = 40;
    const DUMPS: usize = 50;
    const ROOM: u64 = 64 << 20;
    let cluster = audited(database, 2);
    let acknowledged = AtomicUsize::new(0);
    let is_over = AtomicBool::new(false);
    let wait_for_progress = || {
        let before = acknowledged.load(Ordering::Relaxed);
        wait_until("more reports are acknowledged", || {
            (acknowledged.load(Ordering::Relaxed) > before + 100).then_some(())
        });
    };
    let id = |n: usize| format!("truck-{n}");
    let counts: Vec<Counts> = thread::scope(|scope| {
        let stop = Stop(&is_over);
        let reporters: Vec<_> = (0..8)
            .map(|n| {
                let (cluster, acknowledged, is_over) = (&cluster, &acknowledged, &is_over);
                let connect = move || cluster.connect_to(n % 2);
                scope.spawn(move || report_over_reconnects(connect, &id(n), acknowledged, is_over))
            })
            .collect();
        wait_for_progress();
        let mut dumpers: Vec<Device> = (0..DUMPERS)
            .map(|n| cluster.log_in_at(n % 2, &format!("dumper-{n}")))
            .collect();
        let before: Vec<u64> = cluster.instances().map(Daemon::memory).collect();
        database.server().stall();
        let resumes_at = Instant::now() + STALL;
        let dump = format!("WTF! {DUMP}\n{}\n", "x".repeat(DUMP)).repeat(DUMPS);
        for device in &mut dumpers {
            device.send_what_fits(dump.as_bytes());
        }
        // The length of the stall is what is tested: there is no condition to wait for.
        thread::sleep(resumes_at.saturating_duration_since(Instant::now()));
        for (instance, before) in cluster.instances().zip(before) {
            let grown = instance.memory().saturating_sub(before);
            assert!(grown < ROOM, "{grown} bytes more");
        }
        database.server().resume();
        wait_for_progress();
        drop(stop);
        reporters
            .into_iter()
            .map(|reporter| reporter.join().unwrap())
            .collect()
    });
    for (n, Counts { said, acknowledged }) in counts.into_iter().enumerate() {
        let id = id(n);
        let sql = format!("SELECT count(*) FROM reports WHERE device_id = '{id}'");
        let stored: usize = cluster.query(&sql).pop().unwrap().parse().unwrap();
        assert!(
            (acknowledged..=said).contains(&stored),
            "{id}: thanked for {acknowledged} of {said}, stored {stored}"
        );
    }
    for index in 0..2 {
        wait_until("the instance is ready", || {
            (cluster.instance(index).get("/ready").status() == 200).then_some(())
        });
    }
}
