//! What only a database on a server can do to the gateway.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use serde_json::json;

use crate::support::{
    Daemon, Database, Device, Lock, Proxy, change, hello, on_every_server, query, wait_until,
};

const REPORT: &str = "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.";
const THANKS: &str = "OK, THANKS!";
const NOT_KNOWN_YET: &str = "whether the last batch is stored is not known yet";
const STORE_AT_DEBUG: &str = "log.filter=info,vehicle_gateway::store=debug";
const CANNOT_COMMIT: &str = "the database cannot commit; nothing is acknowledged until it does";

on_every_server! {
    an_unreachable_server_delays_acknowledgements,
    a_stalled_server_delays_acknowledgements_and_loses_nothing,
    acknowledged_reports_are_stored_once_when_the_server_is_killed,
    a_second_gateway_with_the_same_name_takes_over,
    a_locked_vehicle_row_delays_no_other_vehicle,
    concurrent_starts_on_an_empty_database_make_one_schema,
    ids_and_blobs_are_stored_byte_by_byte,
    a_delayed_commit_stores_nothing_twice,
    a_new_connection_gets_its_session_settings,
    a_hanging_handshake_times_out,
    dead_connections_are_replaced,
    a_stalled_server_does_not_delay_a_shutdown,
    a_signal_ends_a_start_that_waits_for_the_database,
    a_refused_write_is_dropped_alone,
    two_concurrent_purges_of_a_vehicle_both_finish,
    an_unconfirmed_new_incarnation_is_recognised_as_own,
    a_vehicle_created_twice_at_once_is_no_outage,
}

fn an_unreachable_server_delays_acknowledgements(database: &Database) {
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
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

fn a_stalled_server_delays_acknowledgements_and_loses_nothing(database: &Database) {
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

fn acknowledged_reports_are_stored_once_when_the_server_is_killed(database: &Database) {
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

fn a_second_gateway_with_the_same_name_takes_over(database: &Database) {
    let builder = Daemon::on(database).set("presence.offline_grace=0s");
    let mut first = builder.start();
    let mut device = first.log_in("truck");
    let second = first.again().start();
    // Neither stored nor thanked.
    device.try_say(REPORT);
    assert!(!first.wait().success());
    first.logged("stopping: another gateway was started with this instance.id on this database; two instances need two names");
    assert_ne!(device.line().as_deref(), Some(THANKS));
    assert_eq!(second.offline("truck")["disconnectReason"], "instance-lost");
    assert_eq!(second.query("SELECT count(*) FROM reports"), ["0"]);
    second.log_in("truck");
    assert_eq!(second.query("SELECT session_epoch FROM vehicles"), ["2"]);
}

fn a_locked_vehicle_row_delays_no_other_vehicle(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut locked = daemon.log_in("truck");
    let row = "vehicles WHERE device_id = 'truck'";
    let lock = Lock::of_rows(&daemon.database_url(), row);
    locked.say(REPORT);
    locked.say("PING.");
    // One that is new is made.
    let mut free = daemon.log_in("van");
    for _ in 0..10 {
        free.say(REPORT);
        free.expect(THANKS);
    }
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["10"]);
    drop(lock);
    locked.expect(THANKS);
    locked.expect("PONG.");
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["11"]);
}

fn concurrent_starts_on_an_empty_database_make_one_schema(database: &Database) {
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

fn ids_and_blobs_are_stored_byte_by_byte(database: &Database) {
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

fn a_delayed_commit_stores_nothing_twice(database: &Database) {
    let builder = Daemon::on(database).set("store.commit_timeout=60s");
    let (builder, proxy) = builder.behind(Proxy::before);
    let daemon = builder.set(STORE_AT_DEBUG).start();
    let mut device = daemon.log_in("truck");
    proxy.hold("COMMIT");
    device.say(REPORT);
    proxy.held(1);
    daemon.logged(NOT_KNOWN_YET);
    proxy.release();
    device.expect(THANKS);
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
}

fn a_new_connection_gets_its_session_settings(database: &Database) {
    // The server hangs up on what idles, as firewalls do; the pool notices and connects again.
    let daemon = Daemon::on(database)
        .set("store.commit_timeout=60s")
        .set("log.filter=debug")
        .start();
    let mut device = daemon.log_in("truck");
    let is_postgres = daemon.database_url().starts_with("postgres");
    let end_all = if is_postgres {
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'"
    } else {
        "BEGIN NOT ATOMIC FOR c IN (SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'root') DO KILL c.id; END FOR; END"
    };
    change(&daemon.database_url(), end_all);
    device.say(REPORT);
    device.expect(THANKS);
    // As fast as before, and a lock that somebody holds is waited for a quarter of the lease and not fifty seconds.
    let lock = Lock::of_rows(&daemon.database_url(), "instances");
    let since = Instant::now();
    device.say(REPORT);
    wait_until("the lock is not waited for any longer", || {
        let log = daemon.log();
        let errors = log.iter().filter_map(|line| line["error"].as_str());
        errors
            .into_iter()
            .any(|error| error.to_lowercase().contains("lock"))
            .then_some(())
    });
    assert!(since.elapsed() < Duration::from_secs(7));
    drop(lock);
    device.expect(THANKS);
}

fn a_hanging_handshake_times_out(database: &Database) {
    let (builder, proxy) = Daemon::on(database).behind(Proxy::before);
    let daemon = builder.start();
    let mut device = daemon.log_in("truck");
    proxy.hold("TRANSACTION ISOLATION LEVEL");
    proxy.sever();
    device.say(REPORT);
    proxy.held(1);
    // What is held now is never heard.
    proxy.sever();
    proxy.hold("nothing that is said");
    daemon.logged("the database commits again");
    daemon.log_in("truck");
}

fn dead_connections_are_replaced(database: &Database) {
    let (builder, proxy) = Daemon::on(database).behind(Proxy::before);
    let daemon = builder.set("http.request_timeout=2s").start();
    let mut device = daemon.log_in("truck");
    proxy.hold("vehicles");
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let url = daemon.url("/vehicles");
            thread::spawn(move || reqwest::blocking::get(url).unwrap().status().as_u16())
        })
        .collect();
    proxy.held(4);
    proxy.sever();
    proxy.hold("nothing that is said");
    for asked in asked {
        asked.join().unwrap();
    }
    device.try_say(REPORT);
    wait_until("reads are answered", || {
        (daemon.get("/vehicles").status() == 200).then_some(())
    });
    wait_until("ready", || {
        (daemon.get("/ready").status() == 200).then_some(())
    });
}

fn a_stalled_server_does_not_delay_a_shutdown(database: &Database) {
    let mut daemon = Daemon::on(database).set("shutdown.grace=3s").start();
    let mut devices: Vec<Device> = (0..4)
        .map(|n| daemon.log_in(&format!("truck-{n}")))
        .collect();
    database.server().stall();
    for device in &mut devices {
        device.say(REPORT);
    }
    let since = Instant::now();
    daemon.signal("TERM");
    assert!(!daemon.wait().success());
    assert!(
        since.elapsed() < Duration::from_secs(6),
        "{:?}",
        since.elapsed()
    );
}

fn a_signal_ends_a_start_that_waits_for_the_database(database: &Database) {
    let mut lock = "GET_LOCK(";
    let (builder, proxy) = Daemon::on(database).behind(|url| {
        if url.starts_with("postgres") {
            lock = "advisory_lock(";
        }
        Proxy::before(url)
    });
    proxy.hold(lock);
    let since = Instant::now();
    let (_status, said) = builder
        .after("( (sleep 3; kill -TERM $$; sleep 12; kill -KILL $$) >/dev/null 2>&1 & )")
        .fail();
    assert!(since.elapsed() < Duration::from_secs(8), "{said}");
}

fn a_refused_write_is_dropped_alone(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut device = daemon.log_in("truck-with-a-long-name");
    let mut other = daemon.log_in("tr");
    let narrow = if daemon.database_url().starts_with("postgres") {
        "ALTER TABLE debug_blobs ALTER COLUMN device_id TYPE VARCHAR(4)"
    } else {
        "ALTER TABLE debug_blobs MODIFY device_id VARCHAR(4) NOT NULL"
    };
    change(&daemon.database_url(), narrow);
    let since = Instant::now();
    device.say("WTF! 3\n");
    device.send(b"abc");
    daemon.logged("the database refused a write; it is dropped");
    other.say(REPORT);
    other.expect(THANKS);
    assert!(since.elapsed() < Duration::from_secs(5));
}

mod a_blob_beyond_the_packet_limit_of_the_server_is_dropped_alone {
    use super::*;

    #[test]
    fn on_mariadb() {
        let database = Database::mariadb();
        let daemon = Daemon::on(&database).start();
        change(
            &daemon.database_url(),
            "SET GLOBAL max_allowed_packet = 1048576",
        );
        let again = daemon.again();
        drop(daemon);
        let daemon = again.start();
        let mut device = daemon.log_in("truck");
        let mut other = daemon.log_in("other");
        let since = Instant::now();
        device.say("WTF! 1048576\n");
        device.send(&vec![7; 1_048_576]);
        daemon.logged("the database refused a write; it is dropped");
        other.say(REPORT);
        other.expect(THANKS);
        assert!(since.elapsed() < Duration::from_secs(3));
    }
}

mod a_commit_that_waits_for_a_standby_is_not_stored_twice {
    use super::*;

    #[test]
    fn on_postgres() {
        let database = Database::postgres();
        let daemon = Daemon::on(&database)
            .set("store.commit_timeout=60s")
            .set(STORE_AT_DEBUG)
            .start();
        let mut device = daemon.log_in("truck");
        let url = daemon.database_url();
        change(
            &url,
            "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        );
        change(&url, "SELECT pg_reload_conf()");
        wait_until("the server waits for a copy", || {
            let setting =
                "SELECT setting FROM pg_settings WHERE name = 'synchronous_standby_names'";
            (query(&url, setting) == ["nobody"]).then_some(())
        });
        device.say(REPORT);
        daemon.logged(NOT_KNOWN_YET);
        change(&url, "ALTER SYSTEM RESET synchronous_standby_names");
        change(&url, "SELECT pg_reload_conf()");
        device.expect(THANKS);
        assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
    }
}

/// Selects something while somebody waits for a lock.
fn waiting(url: &str) -> &'static str {
    if url.starts_with("mysql:") {
        "SELECT variable_value FROM information_schema.global_status \
         WHERE variable_name = 'INNODB_ROW_LOCK_CURRENT_WAITS' AND variable_value > 0"
    } else {
        "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    }
}

fn two_concurrent_purges_of_a_vehicle_both_finish(database: &Database) {
    let daemon = Daemon::on(database).set("retention.interval=100ms").start();
    drop(daemon.log_in("gone"));
    daemon.disconnected("gone");
    let url = daemon.database_url();
    // More than a step deletes.
    change(
        &url,
        "INSERT INTO reports (device_id, received_at, latitude, longitude, battery, running) \
         WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 900) \
         SELECT 'gone', (SELECT created_at FROM vehicles) - 1000 + v, 1, 2, 3, TRUE FROM n",
    );
    let other = Lock::of_rows(&url, "reports WHERE id <= 500");
    other.change("DELETE FROM reports WHERE id <= 500");
    assert_eq!(daemon.delete("/vehicles/gone").status(), 204);
    wait_until("both are at the same rows", || {
        (!query(&url, waiting(&url)).is_empty()).then_some(())
    });
    other.commit();
    wait_until("the purge", || {
        daemon
            .query("SELECT forget_through FROM vehicles WHERE forget_through IS NOT NULL")
            .is_empty()
            .then_some(())
    });
    assert_eq!(daemon.query("SELECT id FROM reports"), [""; 0]);
}

fn an_unconfirmed_new_incarnation_is_recognised_as_own(database: &Database) {
    let (builder, proxy) = Daemon::on(database).behind(Proxy::before);
    let daemon = builder.start();
    let url = daemon.database_url();
    // What a new life says of itself, as the protocol has it: live, and no commits yet.
    proxy.hold(if url.starts_with("postgres") {
        "live\0\0\0\x08\0\0\0\0\0\0\0\0"
    } else {
        "live\0\0\0\0\0\0\0\0"
    });
    change(&url, "UPDATE instances SET state = 'dead'");
    proxy.held(1);
    // It waits for the answer no longer, and the database hears it after that.
    daemon.logged(CANNOT_COMMIT);
    proxy.release();
    daemon.logged("the database commits again");
    let mut device = daemon.log_in("truck");
    device.say(REPORT);
    device.expect(THANKS);
}

fn a_vehicle_created_twice_at_once_is_no_outage(database: &Database) {
    let daemon = Daemon::on(database).start();
    let url = daemon.database_url();
    let other = Lock::of_rows(&url, "vehicles");
    other.change(
        "INSERT INTO vehicles (device_id, online, session_epoch, created_at, updated_at) \
         VALUES ('truck', FALSE, 4, 1, 1)",
    );
    let mut device = Device::connect(daemon.device);
    device.say(&hello("truck"));
    wait_until("both make it", || {
        (!query(&url, waiting(&url)).is_empty()).then_some(())
    });
    other.commit();
    device.expect("HI, NICE TO MEET YOU!");
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["5"]);
    let log = daemon.log();
    let is_outage = |line: &serde_json::Value| line["message"] == CANNOT_COMMIT;
    assert!(!log.iter().any(is_outage), "{log:#?}");
}
