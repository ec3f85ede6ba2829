//! Sessions: login, takeover, timeouts, the end, and deletion of the vehicle.

use std::{io::Write, net::TcpStream, sync::Barrier, thread};

use serde_json::json;
use socket2::SockRef;

use crate::support::{Daemon, Database, Device, Lock, hello, on_every_database, wait_until};

on_every_database! {
    the_newest_login_wins_and_closes_the_old_connection_silently,
    a_late_close_of_an_old_connection_keeps_the_vehicle_online,
    concurrent_logins_make_one_row_and_leave_one_session,
    ids_are_case_sensitive_and_unusual_ones_are_valid,
    after_a_kill_online_vehicles_become_offline,
    a_deleted_vehicle_is_disconnected_and_recreated_by_its_next_login,
    the_records_of_a_deleted_vehicle_are_purged_and_no_others,
}

fn the_newest_login_wins_and_closes_the_old_connection_silently(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut old = daemon.log_in("truck");
    let mut new = daemon.log_in("truck");
    old.expect_closed();
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "superseded");
    assert_eq!(daemon.vehicle("truck")["online"], true);
    new.say("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.");
    new.expect("OK, THANKS!");
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["2"]);
}

fn a_late_close_of_an_old_connection_keeps_the_vehicle_online(database: &Database) {
    let daemon = Daemon::on(database).start();
    let old = daemon.log_in("truck");
    let mut new = daemon.log_in("truck");
    drop(old);
    daemon.logged_disconnect("truck");
    new.ping();
    assert_eq!(daemon.vehicle("truck")["online"], true);
}

#[test]
fn a_vehicle_that_closes_its_connection_is_offline() {
    let daemon = Daemon::start();
    drop(daemon.log_in("truck"));
    assert_eq!(
        daemon.wait_until_offline("truck")["disconnectReason"],
        "connection-closed"
    );
}

#[test]
fn a_connection_reset_sets_only_its_vehicle_offline() {
    let daemon = Daemon::start();
    let device = daemon.log_in("truck");
    SockRef::from(device.stream())
        .set_linger(Some(std::time::Duration::ZERO))
        .unwrap();
    drop(device);
    assert_eq!(
        daemon.wait_until_offline("truck")["disconnectReason"],
        "connection-lost"
    );
    daemon.log_in("other");
}

#[test]
fn a_silent_vehicle_is_closed_silently_and_offline() {
    let daemon = Daemon::builder()
        .set("device.silence_timeout=300ms")
        .start();
    let mut device = daemon.log_in("truck");
    device.expect_closed();
    assert_eq!(
        daemon.wait_until_offline("truck")["disconnectReason"],
        "silent"
    );
}

#[test]
fn blob_bytes_reset_the_silence_timeout_and_bad_sentences_do_not() {
    let daemon = Daemon::builder()
        .set("device.silence_timeout=500ms")
        .start();
    let mut babbling = daemon.log_in("babbling");
    let mut dumping = daemon.log_in("dumping");
    dumping.say("WTF! 1000000\n");
    wait_until("the babbling vehicle is offline", || {
        babbling.try_say("NONSENSE\n");
        dumping.say("x");
        (daemon.vehicle("babbling")["online"] == false).then_some(())
    });
    assert_ne!(daemon.vehicle("babbling")["disconnectReason"], json!(null));
    assert_eq!(daemon.vehicle("dumping")["online"], true);
}

#[test]
fn a_connection_that_does_not_log_in_is_closed() {
    let daemon = Daemon::builder()
        .set("device.login_timeout=300ms")
        .set("device.greeting_delay=0s")
        .start();
    let mut device = daemon.connect();
    device.object();
    device.say("PING.");
    device.expect("I DON'T KNOW YOU!");
    device.expect_closed();
    assert_eq!(daemon.json("/vehicles")["items"], json!([]));
}

fn concurrent_logins_make_one_row_and_leave_one_session(database: &Database) {
    const LOGINS: usize = 50;
    let daemon = Daemon::on(database).start();
    let barrier = Barrier::new(LOGINS);
    // Devices stay connected until the last has decided: a closed one would count as superseded.
    let survivors: Vec<Option<Device>> = thread::scope(|scope| {
        let logins: Vec<_> = (0..LOGINS)
            .map(|_| {
                scope.spawn(|| {
                    let mut device = daemon.connect();
                    barrier.wait();
                    device.say(&hello("truck"));
                    // Superseded logins are closed, greeted or not.
                    while device.line().is_some() {
                        let epochs = daemon.query("SELECT session_epoch FROM vehicles");
                        let settled =
                            epochs == [LOGINS.to_string()] && daemon.connection_count() == 1;
                        device.try_say("PING.");
                        if settled {
                            return device.line().map(|_pong| device);
                        }
                    }
                    None
                })
            })
            .collect();
        logins
            .into_iter()
            .map(|login| login.join().unwrap())
            .collect()
    });
    assert_eq!(survivors.into_iter().flatten().count(), 1);
    assert_eq!(daemon.query("SELECT count(*) FROM vehicles"), ["1"]);
}

fn ids_are_case_sensitive_and_unusual_ones_are_valid(database: &Database) {
    let daemon = Daemon::on(database).start();
    for id in ["truck", "Truck", "__proto__", "constructor", "a:b.c-d_e"] {
        daemon.log_in(id);
        assert_eq!(daemon.vehicle(id)["deviceId"], id);
    }
    assert_eq!(daemon.query("SELECT count(*) FROM vehicles"), ["5"]);
}

fn after_a_kill_online_vehicles_become_offline(database: &Database) {
    let builder = Daemon::on(database).set("presence.offline_grace=0s");
    let daemon = builder.start();
    let _device = daemon.log_in("truck");
    let daemon = daemon.kill_and_restart();
    // A file has no other instance that could hold the vehicle, so it is set offline before the ports open.
    let vehicle = match database {
        Database::File => daemon.vehicle("truck"),
        Database::Server(_) => daemon.wait_until_offline("truck"),
    };
    assert_eq!(vehicle["online"], false);
    assert_eq!(vehicle["disconnectReason"], "instance-lost");
    assert_eq!(vehicle["instanceId"], json!(null));
    daemon.log_in("truck");
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["2"]);
}

fn a_deleted_vehicle_is_disconnected_and_recreated_by_its_next_login(database: &Database) {
    let daemon = Daemon::on(database).start();
    let mut device = daemon.log_in("truck");
    device.say("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.");
    device.expect("OK, THANKS!");
    assert_eq!(daemon.delete("/vehicles/truck").status(), 204);
    device.expect_closed();
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "deleted");
    assert_eq!(daemon.get("/vehicles/truck").status(), 404);
    assert_eq!(daemon.get("/vehicles/truck/reports").status(), 404);
    assert_eq!(daemon.delete("/vehicles/truck").status(), 404);

    let mut device = daemon.log_in("truck");
    assert_eq!(daemon.vehicle("truck")["battery"], json!(null));
    assert_eq!(daemon.json("/vehicles/truck/reports")["items"], json!([]));
    device.say("REPORT. I'M HERE 4 5, RUNNING AND CHARGED AT 6%.");
    device.expect("OK, THANKS!");
    let reports = daemon.json("/vehicles/truck/reports");
    assert_eq!(reports["items"].as_array().unwrap().len(), 1);
    assert_eq!(daemon.query("SELECT session_epoch FROM vehicles"), ["2"]);
}

fn the_records_of_a_deleted_vehicle_are_purged_and_no_others(database: &Database) {
    let daemon = Daemon::on(database).set("retention.interval=1s").start();
    for id in ["gone", "kept"] {
        let mut device = daemon.log_in(id);
        device.say("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.WTF! 1\nx");
        device.expect("OK, THANKS!");
        device.expect("DAAAMN! ISSUE REPORTED ON JIRA");
    }
    assert_eq!(daemon.delete("/vehicles/gone").status(), 204);
    wait_until("the purge", || {
        let left = daemon
            .query("SELECT device_id FROM reports UNION ALL SELECT device_id FROM debug_blobs");
        (left == ["kept", "kept"]).then_some(())
    });
}

#[test]
fn a_deletion_completes_though_its_caller_hangs_up() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    let lock = Lock::take(&daemon.database());
    let mut caller = TcpStream::connect(daemon.http).unwrap();
    caller
        .write_all(b"DELETE /vehicles/truck HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    daemon.logged("the database cannot commit; nothing is acknowledged until it does");
    drop(caller);
    drop(lock);
    device.expect_closed();
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "deleted");
}

#[test]
fn the_last_heartbeat_never_decreases() {
    let daemon = Daemon::builder().set("store.heartbeat_flush=100ms").start();
    let mut device = daemon.log_in("truck");
    let mut last = String::new();
    for _ in 0..200 {
        device.ping();
        let beat = daemon.vehicle("truck")["lastHeartbeat"]
            .as_str()
            .unwrap()
            .to_owned();
        assert!(beat >= last);
        last = beat;
    }
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    assert!(
        daemon.wait_until_offline("truck")["lastHeartbeat"]
            .as_str()
            .unwrap()
            >= last.as_str()
    );
}

#[test]
fn heartbeats_are_not_logged_at_info() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    daemon.logged("vehicle connected");
    let before = daemon.log().len();
    for _ in 0..100 {
        device.ping();
    }
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    daemon.logged_disconnect("truck");
    assert_eq!(daemon.log().len(), before + 1);
}
