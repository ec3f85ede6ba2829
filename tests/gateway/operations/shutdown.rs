//! Stopping: signals, the goodbye to vehicles, the grace period and the drain.

use crate::support::{Daemon, Lock};

#[test]
fn sigterm_says_goodbye_stores_vehicles_offline_and_exits_cleanly() {
    let mut daemon = Daemon::start();
    let mut text = daemon.log_in("text");
    let mut json = daemon.connect();
    json.say(&crate::support::json("PING.", "json"));
    json.object();
    json.expect_reply("PONG.");
    daemon.signal("TERM");
    text.expect("GOTTA GO.");
    text.say("SEE YA!");
    text.expect_closed();
    assert_eq!(
        json.line(),
        Some(format!(
            r#"{{"type":"command","message":"GOTTA GO.","serverId":"{}"}}"#,
            daemon.id
        ))
    );
    json.say(r#"{"type":"reply","message":"SEE YA!","clientId":"json"}"#);
    json.expect_closed();
    assert!(daemon.wait().success());
    for reason in daemon.query("SELECT online || disconnect_reason FROM vehicles") {
        assert_eq!(reason, "0shutdown");
    }
}

#[test]
fn only_see_ya_answers_the_goodbye_of_a_shutdown() {
    let mut daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    daemon.signal("TERM");
    device.expect("GOTTA GO.");
    device.say("DONE!PING.");
    device.expect("PONG.");
    device.say("SEE YA!");
    device.expect_closed();
    assert!(daemon.wait().success());
    assert_eq!(daemon.logged_disconnect("truck")["reason"], "shutdown");
}

#[test]
fn a_report_in_flight_at_sigterm_is_stored_and_acknowledged() {
    let mut daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    let lock = Lock::take(&daemon.database());
    device.say("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.");
    daemon.logged("the database cannot commit; nothing is acknowledged until it does");
    daemon.signal("TERM");
    daemon.logged("stopping: no new connections, finishing what is in flight");
    drop(lock);
    device.expect("OK, THANKS!");
    device.expect("GOTTA GO.");
    drop(device);
    assert!(daemon.wait().success());
    assert_eq!(daemon.query("SELECT count(*) FROM reports"), ["1"]);
}

#[test]
fn a_vehicle_without_a_goodbye_delays_the_exit_by_the_grace_at_most() {
    let mut daemon = Daemon::builder().set("shutdown.grace=500ms").start();
    let mut device = daemon.log_in("truck");
    daemon.signal("INT");
    device.expect("GOTTA GO.");
    assert!(daemon.wait().success());
    device.expect_closed();
}

#[test]
fn a_short_grace_leaves_no_vehicle_online() {
    let mut daemon = Daemon::builder().set("shutdown.grace=1s").start();
    let _silent = [daemon.log_in("a"), daemon.log_in("b")];
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    assert_eq!(
        daemon.query("SELECT count(*) FROM vehicles WHERE online"),
        ["0"]
    );
}

#[test]
fn a_shutdown_with_a_locked_database_exits_in_time_with_a_failure() {
    let mut daemon = Daemon::builder().set("shutdown.grace=1s").start();
    let mut device = daemon.log_in("truck");
    let _lock = Lock::take(&daemon.database());
    device.say("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.");
    daemon.logged("the database cannot commit; nothing is acknowledged until it does");
    daemon.signal("TERM");
    assert!(!daemon.wait().success());
    daemon.logged("the database cannot commit: pending writes are lost");
}

#[test]
fn while_draining_devices_are_accepted_and_readiness_is_withdrawn() {
    let mut daemon = Daemon::builder().set("shutdown.drain_delay=2s").start();
    assert_eq!(daemon.get("/ready/balancer").status(), 200);
    daemon.signal("TERM");
    daemon.logged("draining: still accepting, while /ready/balancer is 404");
    assert_eq!(daemon.get("/ready/balancer").status(), 404);
    assert_eq!(daemon.get("/ready").status(), 503);
    let mut device = daemon.log_in("truck");
    device.ping();
    device.expect("GOTTA GO.");
    device.say("SEE YA!");
    device.expect_closed();
    assert!(daemon.wait().success());
}

#[test]
fn a_second_signal_exits_at_once() {
    let mut daemon = Daemon::builder().set("shutdown.grace=60s").start();
    let mut device = daemon.log_in("truck");
    daemon.signal("TERM");
    device.expect("GOTTA GO.");
    daemon.signal("TERM");
    assert!(!daemon.wait().success());
}

#[test]
fn a_hangup_stops_nothing() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    daemon.signal("HUP");
    daemon.logged("SIGHUP ignored: settings are read at the start only");
    device.ping();
}
