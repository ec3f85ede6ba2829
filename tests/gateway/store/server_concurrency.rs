//! Several clients of one database server: row locks, takeovers, and gateways that write the same rows.

use std::thread;

use super::CANNOT_COMMIT;
use crate::support::{
    Daemon, Database, DatabaseProxy, Device, Lock, REPORT, THANKS, change, hello, on_every_server,
    query, wait_until,
};

on_every_server! {
    a_second_gateway_with_the_same_name_takes_over,
    a_locked_vehicle_row_delays_no_other_vehicle,
    writes_that_wait_for_a_lock_make_the_gateway_unready_with_the_reason,
    concurrent_starts_on_an_empty_database_make_one_schema,
    two_concurrent_purges_of_a_vehicle_both_finish,
    an_unconfirmed_new_incarnation_is_recognised_as_own,
    a_vehicle_created_twice_at_once_is_no_outage,
}

fn a_second_gateway_with_the_same_name_takes_over(database: &Database) {
    let builder = Daemon::on(database).set("presence.offline_grace=0s");
    let mut first = builder.start();
    let mut device = first.log_in("truck");
    let second = first.restart_builder().start();
    // Neither stored nor acknowledged.
    device.try_say(REPORT);
    assert!(!first.wait().success());
    first.logged("stopping: another gateway was started with this instance.id on this database; two instances need two names");
    assert_ne!(device.line().as_deref(), Some(THANKS));
    assert_eq!(
        second.wait_until_offline("truck")["disconnectReason"],
        "instance-lost"
    );
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
    // A new vehicle can be created.
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

fn writes_that_wait_for_a_lock_make_the_gateway_unready_with_the_reason(database: &Database) {
    let daemon = Daemon::on(database).set("store.commit_timeout=60s").start();
    let mut device = daemon.log_in("truck");
    let lock = Lock::of_rows(&daemon.database_url(), "vehicles");
    device.say(REPORT);
    let unready = daemon.logged_containing("a write has waited for its commit for long");
    assert_eq!(unready["level"], "ERROR");
    let ready = daemon.get("/ready");
    assert_eq!(ready.status(), 503);
    let ready: serde_json::Value = ready.json().unwrap();
    let reason = ready["reason"].as_str().unwrap();
    assert!(
        reason.starts_with("a write has waited for its commit for"),
        "{reason}"
    );
    drop(lock);
    device.expect(THANKS);
    daemon.logged("no write waits for its commit for long any more");
    assert_eq!(daemon.json("/ready")["reason"], serde_json::Value::Null);
}

fn concurrent_starts_on_an_empty_database_make_one_schema(database: &Database) {
    let first = Daemon::on(database);
    let (first, others) = thread::scope(|scope| {
        let others =
            [first.duplicate(), first.duplicate()].map(|other| scope.spawn(|| other.start()));
        (first.start(), others.map(|other| other.join().unwrap()))
    });
    // All have started; the newest incarnation of the name is live.
    let alive = first.query("SELECT count(*) FROM instances WHERE state = 'live'");
    assert_eq!(alive, ["1"]);
    drop(others);
    first.restart_builder().start().log_in("truck");
}

/// Selects a row while a statement waits for a lock.
fn lock_waits(url: &str) -> &'static str {
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
    daemon.logged_disconnect("gone");
    let url = daemon.database_url();
    // More than one step of a purge deletes.
    change(
        &url,
        "INSERT INTO reports (device_id, received_at, latitude, longitude, battery, running) \
         WITH RECURSIVE n(v) AS (SELECT 1 UNION ALL SELECT v + 1 FROM n WHERE v < 900) \
         SELECT 'gone', (SELECT created_at FROM vehicles) - 1000 + v, 1, 2, 3, TRUE FROM n",
    );
    let other = Lock::of_rows(&url, "reports WHERE id <= 500");
    other.change("DELETE FROM reports WHERE id <= 500");
    assert_eq!(daemon.delete("/vehicles/gone").status(), 204);
    wait_until("both purges are at the same rows", || {
        (!query(&url, lock_waits(&url)).is_empty()).then_some(())
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
    let (builder, proxy) = Daemon::on(database).through_proxy(DatabaseProxy::to);
    let daemon = builder.start();
    let url = daemon.database_url();
    // Part of the statement that inserts a new incarnation: its state and its counter 0, as each protocol encodes them.
    proxy.hold(if url.starts_with("postgres") {
        "live\0\0\0\x08\0\0\0\0\0\0\0\0"
    } else {
        "live\0\0\0\0\0\0\0\0"
    });
    change(&url, "UPDATE instances SET state = 'dead'");
    proxy.wait_until_held(1);
    // The gateway stops waiting for the answer; only then does the statement reach the database.
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
    wait_until("both create the vehicle", || {
        (!query(&url, lock_waits(&url)).is_empty()).then_some(())
    });
    other.commit();
    device.expect("HI, NICE TO MEET YOU!");
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["5"]);
    let log = daemon.log();
    let is_outage = |line: &serde_json::Value| line["message"] == CANNOT_COMMIT;
    assert!(!log.iter().any(is_outage), "{log:#?}");
}
