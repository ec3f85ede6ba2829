//! Acknowledged means stored.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::Value;

use super::CANNOT_COMMIT;
use crate::support::{
    Daemon, Database, Device, Lock, THANKS, change, hello, on_every_database, report, wait_until,
};

/// What one device was acknowledged for when the gateway died.
#[derive(Default)]
struct Acknowledged {
    greeted: bool,
    reports: usize,
    blobs: usize,
}

/// Reports and dumps as fast as it is answered, until the connection breaks.
fn talk_until_it_breaks(mut device: Device, id: &str, acknowledged: &AtomicUsize) -> Acknowledged {
    let mut seen = Acknowledged::default();
    device.say(&hello(id));
    seen.greeted = device.line().is_some();
    while seen.greeted {
        let sentence = if seen.reports % 8 == 7 && seen.blobs <= seen.reports / 8 {
            "WTF! 3\nabc".to_owned()
        } else {
            report(seen.reports % 100)
        };
        if !device.try_say(&sentence) {
            break;
        }
        match device.line().as_deref() {
            Some(THANKS) => seen.reports += 1,
            Some(_) => seen.blobs += 1,
            None => break,
        }
        acknowledged.fetch_add(1, Ordering::Relaxed);
    }
    seen
}

fn kill_under_load(database: &Database, rounds: usize) {
    const DEVICES: usize = 16;
    let mut daemon = Daemon::on(database).start();
    for round in 0..rounds {
        let acknowledged = AtomicUsize::new(0);
        let id = |device: usize| format!("truck-{round}-{device}");
        let seen: Vec<Acknowledged> = thread::scope(|scope| {
            let devices: Vec<_> = (0..DEVICES)
                .map(|index| {
                    let (device, acknowledged) = (daemon.connect(), &acknowledged);
                    scope.spawn(move || talk_until_it_breaks(device, &id(index), acknowledged))
                })
                .collect();
            // Right after a thank-you, at another one each round.
            let enough = 20 + 37 * (round % 20);
            wait_until("enough thank-yous", || {
                (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
            });
            daemon.signal("KILL");
            devices
                .into_iter()
                .map(|device| device.join().unwrap())
                .collect()
        });
        daemon.wait();
        daemon = daemon.restart_builder().start();
        if let Database::File = database {
            assert_eq!(
                daemon.query("SELECT integrity_check FROM pragma_integrity_check"),
                ["ok"]
            );
        }
        for (index, seen) in seen.iter().enumerate() {
            let id = id(index);
            let count = |table: &str| -> usize {
                daemon.query(&format!(
                    "SELECT count(*) FROM {table} WHERE device_id = '{id}'"
                ))[0]
                    .parse()
                    .unwrap()
            };
            assert_eq!(
                count("vehicles"),
                usize::from(seen.greeted),
                "round {round}, {id}"
            );
            // One more may be committed than was acknowledged: the answer to it died with the process.
            let reports = count("reports");
            assert!(
                (seen.reports..=seen.reports + 1).contains(&reports),
                "round {round}, {id}: thanked for {} reports, {reports} are stored",
                seen.reports
            );
            let blobs = count("debug_blobs");
            assert!(
                (seen.blobs..=seen.blobs + 1).contains(&blobs),
                "round {round}, {id}"
            );
        }
    }
}

on_every_database! {
    acknowledged_writes_survive_a_kill,
}

fn acknowledged_writes_survive_a_kill(database: &Database) {
    kill_under_load(database, 3);
}

/// `KILLS=100` for a long run.
#[test]
fn long_acknowledged_writes_survive_many_kills() {
    let rounds = std::env::var("KILLS").map_or(20, |kills| kills.parse().unwrap());
    kill_under_load(&Database::File, rounds);
}

#[test]
fn a_locked_database_delays_acknowledgements_until_it_commits() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    let lock = Lock::take(&daemon.database());
    device.say(&report(50));
    daemon.logged(CANNOT_COMMIT);
    assert_eq!(daemon.get("/ready").status(), 503);
    assert_eq!(daemon.get("/health").status(), 200);
    drop(lock);
    device.expect(THANKS);
    assert_eq!(daemon.vehicle("truck")["battery"], 50);
    daemon.logged("the database commits again");
    assert_eq!(daemon.get("/ready").status(), 200);
}

#[test]
fn a_database_locked_too_long_ends_sessions_and_recovers() {
    let daemon = Daemon::builder().set("store.commit_timeout=2s").start();
    let mut reporting = daemon.log_in("reporting");
    let lock = Lock::take(&daemon.database());
    let mut entering = daemon.connect();
    entering.say(&hello("entering"));
    reporting.say(&report(50));
    reporting.expect_closed();
    entering.expect_closed();
    assert_eq!(
        daemon.logged_disconnect("reporting")["reason"],
        "store-unavailable"
    );
    let response = daemon.post("/vehicles", &serde_json::json!({"deviceId": "x"}));
    assert_eq!(response.status(), 503);
    drop(lock);

    // The end of the session is not forgotten, however long the database was away.
    let vehicle = daemon.wait_until_offline("reporting");
    assert_eq!(vehicle["disconnectReason"], "store-unavailable");
    assert_eq!(vehicle["battery"], Value::Null);
    let mut device = daemon.log_in("reporting");
    device.say(&report(51));
    device.expect(THANKS);
    assert_eq!(daemon.query("SELECT battery FROM reports"), ["51"]);
}

#[test]
fn logins_that_fail_together_are_one_line_and_a_number() {
    let daemon = Daemon::builder().set("store.commit_timeout=500ms").start();
    let lock = Lock::take(&daemon.database());
    for round in 0..3 {
        let devices = (0..20).map(|index| {
            let mut device = daemon.connect();
            device.say(&hello(&format!("truck-{round}-{index}")));
            device
        });
        for mut device in devices.collect::<Vec<_>>() {
            device.expect_closed();
        }
    }
    drop(lock);
    daemon.logged("the database commits again");
    let log = daemon.log();
    let is_failed = |line: &&Value| line["message"] == "cannot store a login";
    let failed: Vec<_> = log.iter().filter(is_failed).collect();
    assert!(failed.len() == 1 && failed[0]["failed"] == 1, "{failed:?}");
    let is_loud = |line: &&Value| line["level"] == "WARN" || line["level"] == "ERROR";
    assert!(log.iter().filter(is_loud).count() <= 4, "{log:?}");
}

// Changes a limit of a running process, which only Linux can.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_acknowledges_nothing_until_there_is_space() {
    // The limit stands for the disk: writes beyond it fail, and it can be lifted from outside.
    let daemon = Daemon::builder()
        .set("store.commit_timeout=500ms")
        .after_shell("trap '' XFSZ; ulimit -S -f 2000")
        .start();
    let mut stored = 0;
    let refused = (0..200).any(|_| {
        let mut device = daemon.try_log_in("truck");
        while let Some(open) = &mut device {
            open.say("WTF! 20000\n");
            open.send(&vec![b'x'; 20_000]);
            if open.line().is_none() {
                return true;
            }
            stored += 1;
        }
        true
    });
    assert!(refused && stored > 0);
    daemon.logged(CANNOT_COMMIT);
    daemon.lift_file_size_limit();
    let mut device = wait_until("logins work again", || daemon.try_log_in("truck"));
    device.say(&report(7));
    device.expect(THANKS);
    let blobs: usize = daemon.query("SELECT count(*) FROM debug_blobs")[0]
        .parse()
        .unwrap();
    assert!(
        blobs >= stored,
        "thanked for {stored} blobs, {blobs} are stored"
    );
    assert_eq!(
        daemon.query("SELECT integrity_check FROM pragma_integrity_check"),
        ["ok"]
    );
}

#[test]
fn a_write_that_the_database_refuses_fails_alone_in_its_batch() {
    const DEVICES: usize = 32;
    let daemon = Daemon::start();
    change(
        &daemon.database_url(),
        "CREATE TRIGGER refuse BEFORE INSERT ON reports WHEN NEW.battery = 66
         BEGIN SELECT RAISE(ABORT, 'refused'); END",
    );
    let mut devices: Vec<_> = (0..DEVICES)
        .map(|index| daemon.log_in(&format!("truck-{index}")))
        .collect();
    // While the database is locked they gather in one batch.
    let lock = Lock::take(&daemon.database());
    for (index, device) in devices.iter_mut().enumerate() {
        device.say(&report(if index % 8 == 3 { 66 } else { 5 }));
    }
    daemon.logged(CANNOT_COMMIT);
    drop(lock);
    for (index, device) in devices.iter_mut().enumerate() {
        device.expect(if index % 8 == 3 {
            "SERVER COULD NOT PROCESS THE RECEIVED MESSAGE."
        } else {
            THANKS
        });
        device.ping();
    }
    let stored = daemon.query("SELECT count(*) FROM reports WHERE battery = 5");
    assert_eq!(stored, [(DEVICES - 4).to_string()]);
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), stored);
}

#[test]
fn the_log_of_a_file_shrinks_after_a_reader_kept_it_from_being_used_again() {
    const BLOB: usize = 1 << 20;
    const LIMIT: u64 = 33 << 20;
    let daemon = Daemon::start();
    let wal = daemon.folder().join("vehicle-gateway.db-wal");
    let size = || std::fs::metadata(&wal).unwrap().len();
    let mut device = daemon.log_in("truck");
    let mut send_blob = || {
        device.say(&format!("WTF! {BLOB}\n{}", "x".repeat(BLOB)));
        device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    };
    let reader = Lock::reading(&daemon.database());
    while size() < LIMIT + (16 << 20) {
        send_blob();
    }
    drop(reader);
    wait_until("the log is cut", || {
        send_blob();
        (size() <= LIMIT).then_some(())
    });
}

#[test]
fn a_session_taken_over_in_the_database_is_closed() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say(&report(5));
    device.expect(THANKS);
    change(
        &daemon.database_url(),
        "UPDATE vehicles SET instance_id = '00000000-0000-4000-8000-000000000002'",
    );
    device.say(&report(6));
    device.expect_closed();
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "superseded");
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
}

#[test]
fn only_reports_and_blobs_past_their_retention_are_deleted() {
    let daemon = Daemon::builder().set("retention.interval=1s").start();
    let mut device = daemon.log_in("truck");
    device.say(&report(5).repeat(3));
    device.say(&"WTF! 3\nabc".repeat(3));
    for _ in 0..3 {
        device.expect(THANKS);
    }
    for _ in 0..3 {
        device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    }
    change(
        &daemon.database_url(),
        "UPDATE reports SET received_at = received_at - 91 * 86400000 WHERE id < 3;
         UPDATE debug_blobs SET received_at = received_at - 31 * 86400000 WHERE id < 3;",
    );
    wait_until("the purge", || {
        let left = daemon.query("SELECT id FROM reports UNION ALL SELECT id FROM debug_blobs");
        (left == ["3", "3"]).then_some(())
    });
}
