//! Running it: the command line, start, stop, and what it says.

use std::{net::TcpListener, process::Command};

use serde_json::json;

use crate::support::{Daemon, Lock, wait_until};

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
    assert_eq!(daemon.disconnected("truck")["reason"], "shutdown");
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
fn a_second_signal_exits_at_once() {
    let mut daemon = Daemon::builder().set("shutdown.grace=60s").start();
    let mut device = daemon.log_in("truck");
    daemon.signal("TERM");
    device.expect("GOTTA GO.");
    daemon.signal("TERM");
    assert!(!daemon.wait().success());
}

#[test]
fn a_port_in_use_is_one_line_and_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["http.listen", "device.listen"] {
        let (status, said) = Daemon::builder().set(&format!("{key}={address}")).fail();
        assert!(!status.success());
        let said: Vec<&str> = said.lines().collect();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].contains(key) && said[0].contains("in use"),
            "{said:?}"
        );
    }
}

#[test]
fn a_second_process_on_the_same_file_refuses_to_start() {
    let daemon = Daemon::start();
    let (status, said) = daemon.again().fail();
    assert!(!status.success());
    assert!(said.contains("in use by another vehicle-gateway"), "{said}");
    daemon.log_in("truck");
}

#[test]
fn a_database_that_cannot_be_opened_is_one_line_and_a_failure() {
    for (url, reason) in [
        ("sqlite:///nowhere/at/all.db", "does its folder exist"),
        ("mysql://root:s3cret@127.0.0.1:1/fleet", "refused"),
        ("postgres://root:s3cret@127.0.0.1:1/fleet", "refused"),
        ("mariadb://root:s3cret@127.0.0.1:1/fleet", "database.url"),
        ("nonsense", "database.url"),
    ] {
        let (status, said) = Daemon::builder().set(&format!("database.url={url}")).fail();
        assert!(!status.success());
        assert!(said.contains(reason) && said.lines().count() == 1, "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}

#[test]
fn a_file_that_is_no_database_is_reported_and_not_changed() {
    let daemon = Daemon::start();
    let other = daemon.folder().join("other.db");
    std::fs::write(
        &other,
        "this is not a database, but something of value".repeat(50),
    )
    .unwrap();
    let (status, said) = daemon.again().set("database.url=sqlite://other.db").fail();
    assert!(!status.success());
    assert!(said.contains("not a database"), "{said}");
    assert!(
        std::fs::read_to_string(&other)
            .unwrap()
            .starts_with("this is not")
    );
}

#[test]
fn all_mistakes_in_the_settings_are_reported_at_once() {
    let (status, said) = Daemon::builder()
        .set("device.silence_timout=90s")
        .set("http.listen=localhost")
        .set("store.commit_timeout=soon")
        .fail();
    assert!(!status.success());
    for key in [
        "device.silence_timout",
        "http.listen",
        "store.commit_timeout",
    ] {
        assert!(said.contains(key), "{said}");
    }
}

#[test]
fn more_connections_than_open_files_are_refused_at_start() {
    let (status, said) = Daemon::builder()
        .set("device.max_connections=10000000")
        .fail();
    assert!(!status.success());
    assert!(said.contains("open files"), "{said}");
}

#[test]
fn the_default_connection_limit_follows_the_open_files_limit() {
    let daemon = Daemon::builder()
        .set("device.max_connections=0")
        .set("http.max_connections=10")
        .after("ulimit -n 200")
        .start();
    let few = daemon.logged_with("level", "WARN");
    assert_eq!(few["max_connections"], 200 - 10 - 128);
    daemon.log_in("truck");
}

#[test]
fn check_config_prints_the_effective_settings_and_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
        .args(["check-config", "--set", "device.silence_timeout=2m"])
        .env("GATEWAY_HTTP__LISTEN", "127.0.0.1:3999")
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success());
    let settings = String::from_utf8(output.stdout).unwrap();
    assert!(settings.contains(r#"silence_timeout = "2m""#), "{settings}");
    assert!(settings.contains("127.0.0.1:3999"), "{settings}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn migrate_creates_the_schema_and_exits() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..2 {
        let status = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
            .arg("migrate")
            .current_dir(folder.path())
            .status()
            .unwrap();
        assert!(status.success());
    }
    let database = folder.path().join("vehicle-gateway.db");
    let database = format!("sqlite://{}", database.display());
    let tables = crate::support::query(
        &database,
        "SELECT name FROM sqlite_master WHERE name IN ('vehicles', 'reports', 'debug_blobs')",
    );
    assert_eq!(tables.len(), 3);
}

#[test]
fn heartbeats_are_not_logged_at_info() {
    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    daemon.logged("vehicle connected");
    let before = daemon.log().len();
    for _ in 0..100 {
        device.say("PING.");
        device.expect("PONG.");
    }
    device.say("GOTTA GO.");
    device.expect("SEE YA!");
    daemon.disconnected("truck");
    assert_eq!(daemon.log().len(), before + 1);
}

#[test]
fn the_server_info_counts_connected_devices() {
    let daemon = Daemon::start();
    let _devices = [daemon.log_in("a"), daemon.log_in("b")];
    let page = daemon.json("/");
    assert_eq!(page["devicesConnected"], json!(2));
    wait_until("uptime is a number", || page["uptimeSeconds"].as_u64());
}

#[test]
fn a_link_to_a_database_in_use_refuses_to_start() {
    let daemon = Daemon::start();
    std::os::unix::fs::symlink("vehicle-gateway.db", daemon.folder().join("link.db")).unwrap();
    let (status, said) = daemon.again().set("database.url=sqlite://link.db").fail();
    assert!(!status.success());
    assert!(said.contains("in use by another vehicle-gateway"), "{said}");
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
    daemon.logged("the database cannot commit; what waited for it is lost");
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
    device.say("PING.");
    device.expect("PONG.");
    device.expect("GOTTA GO.");
    device.say("SEE YA!");
    device.expect_closed();
    assert!(daemon.wait().success());
}

#[test]
fn balancer_readiness_ignores_shared_outages() {
    let daemon = Daemon::builder().set("store.commit_timeout=300ms").start();
    let lock = Lock::take(&daemon.database());
    daemon.log_in_if_possible("truck");
    daemon.logged("the database cannot commit; nothing is acknowledged until it does");
    assert_eq!(daemon.get("/ready").status(), 503);
    assert_eq!(daemon.get("/ready/balancer").status(), 200);
    drop(lock);
}
