//! What keeps the gateway from starting, and the limits that it sets itself.

use std::{
    net::TcpListener,
    process::Command,
    time::{Duration, Instant},
};

use crate::support::{Authority, Daemon};

#[test]
fn a_port_in_use_is_one_line_and_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for key in ["http.listen", "device.listen", "device.tls.listen"] {
        let builder = Daemon::builder();
        let files = Authority::new().issue().write_to(builder.folder().path());
        let (status, output) = builder
            .device_tls(&files)
            .set(&format!("{key}={address}"))
            .run_to_failure();
        assert!(!status.success());
        let output: Vec<&str> = output.lines().collect();
        assert_eq!(output.len(), 1, "{output:?}");
        assert!(
            output[0].contains(key) && output[0].contains("in use"),
            "{output:?}"
        );
    }
}

#[test]
fn both_ports_in_use_are_one_line_and_leave_nothing_behind() {
    let taken = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [device, http] = taken.each_ref().map(|port| port.local_addr().unwrap());
    let builder = Daemon::builder();
    let folder = builder.folder();
    let (status, output) = builder
        .set(&format!("device.listen={device}"))
        .set(&format!("http.listen={http}"))
        .run_to_failure();
    assert!(!status.success());
    assert_eq!(output.lines().count(), 1, "{output}");
    for told in [
        format!("device.listen = {device}"),
        format!("http.listen = {http}"),
    ] {
        assert!(output.contains(&told), "{output}");
    }
    let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn ports_that_are_open_to_others_are_warned_about() {
    let daemon = Daemon::builder()
        .set("device.listen=0.0.0.0:0")
        .set("http.listen=0.0.0.0:0")
        .set("http.auth=off")
        .start();
    daemon.logged_containing("every client of device.listen can log in as any vehicle");
    daemon.logged_containing("http.auth is off");
    let daemon = Daemon::start();
    daemon.log_in("truck");
    assert!(daemon.log().iter().all(|line| line["level"] != "WARN"));
}

#[test]
fn an_encrypted_device_port_that_is_open_to_all_is_warned_about() {
    const OPEN: &str = "every client of device.tls.listen can log in as any vehicle";
    for required in [false, true] {
        let builder = Daemon::builder();
        let authority = Authority::new();
        let files = authority.issue().write_to(builder.folder().path());
        let vehicles = builder.folder().path().join("vehicles.pem");
        std::fs::write(&vehicles, authority.pem()).unwrap();
        let daemon = builder
            .device_tls(&files)
            .set("device.tls.listen=0.0.0.0:0")
            .set(&format!("device.tls.client_ca={}", vehicles.display()))
            .set(&format!("device.tls.require_client_certificate={required}"))
            .start();
        let log = daemon.log();
        let is_warned = log.iter().any(|line| {
            let message = line["message"].as_str();
            line["level"] == "WARN" && message.is_some_and(|it| it.contains(OPEN))
        });
        assert_eq!(is_warned, !required, "{log:?}");
    }
}

#[test]
fn a_second_process_on_the_same_file_refuses_to_start() {
    let daemon = Daemon::start();
    let (status, output) = daemon.restart_builder().run_to_failure();
    assert!(!status.success());
    assert!(
        output.contains("in use by another vehicle-gateway"),
        "{output}"
    );
    daemon.log_in("truck");
}

#[test]
fn a_link_to_a_database_in_use_refuses_to_start() {
    let daemon = Daemon::start();
    std::os::unix::fs::symlink("vehicle-gateway.db", daemon.folder().join("link.db")).unwrap();
    let (status, output) = daemon
        .restart_builder()
        .set("database.url=sqlite://link.db")
        .run_to_failure();
    assert!(!status.success());
    assert!(
        output.contains("in use by another vehicle-gateway"),
        "{output}"
    );
}

#[test]
fn a_database_that_cannot_be_opened_is_one_line_and_a_failure() {
    for (url, reason) in [
        ("sqlite:///nowhere/at/all.db", "does its folder exist"),
        ("mysql://root:s3cret@127.0.0.1:1/fleet", "refused"),
        ("postgres://root:s3cret@127.0.0.1:1/fleet", "refused"),
        ("mariadb://root:s3cret@127.0.0.1:1/fleet", "refused"),
        ("nonsense", "database.url"),
    ] {
        let (status, output) = Daemon::builder()
            .set(&format!("database.url={url}"))
            .set("database.wait=0s")
            .run_to_failure();
        assert!(!status.success());
        assert!(
            output.contains(reason) && output.lines().count() == 1,
            "{output}"
        );
        assert!(!output.contains("s3cret"), "{output}");
    }
}

#[test]
fn a_database_that_does_not_come_is_waited_for_and_given_up() {
    for url in [
        "mysql://root:s3cret@127.0.0.1:1/fleet",
        "postgres://root:s3cret@127.0.0.1:1/fleet",
    ] {
        let began = Instant::now();
        let (status, output) = Daemon::builder()
            .set(&format!("database.url={url}"))
            .set("database.wait=2s")
            .run_to_failure();
        assert!(!status.success());
        assert!(began.elapsed() >= Duration::from_secs(2));
        let [waiting, reason] = output.lines().collect::<Vec<_>>()[..] else {
            panic!("{output}");
        };
        assert!(waiting.contains("waiting for it"), "{output}");
        assert!(reason.contains("refused"), "{output}");
        assert!(!output.contains("s3cret"), "{output}");
    }
}

#[test]
fn an_unverified_server_is_warned_about_before_it_is_connected_to() {
    // Not a loopback address, but one that leads to this host, where nobody listens.
    let servers = [
        ("database.url", "postgres://joe:s3cret@0.0.0.0:1/db"),
        ("redis.url", "redis://joe:s3cret@0.0.0.0:1"),
    ];
    for (setting, url) in servers {
        // Redis comes after the database.
        let (status, output) = Daemon::builder()
            .set("database.url=postgres://joe:s3cret@127.0.0.1:1/db")
            .set("database.wait=0s")
            .set(&format!("{setting}={url}"))
            .run_to_failure();
        assert!(!status.success());
        assert_warned_before_failure(setting, &output);
    }
}

#[test]
fn migrate_warns_about_an_unverified_server_before_it_connects() {
    let output = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
        .arg("migrate")
        .args(["--set", "log.format=json"])
        .args(["--set", "database.wait=0s"])
        .args(["--set", "database.url=mysql://joe:s3cret@0.0.0.0:1/db"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let output = String::from_utf8(output.stderr).unwrap();
    assert_warned_before_failure("database.url", &output);
}

#[track_caller]
fn assert_warned_before_failure(setting: &str, output: &str) {
    let warning = output.find("is not verified").expect(output);
    let failure = output.find("refused").expect(output);
    assert!(warning < failure, "{output}");
    assert!(output.contains(&format!("\"{setting}\"")), "{output}");
    assert!(!output.contains("s3cret"), "{output}");
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
    let (status, output) = daemon
        .restart_builder()
        .set("database.url=sqlite://other.db")
        .run_to_failure();
    assert!(!status.success());
    assert!(output.contains("not a database"), "{output}");
    assert!(
        std::fs::read_to_string(&other)
            .unwrap()
            .starts_with("this is not")
    );
}

#[test]
fn all_mistakes_in_the_settings_are_reported_at_once() {
    let (status, output) = Daemon::builder()
        .set("device.silence_timout=90s")
        .set("http.listen=localhost")
        .set("store.commit_timeout=soon")
        .run_to_failure();
    assert!(!status.success());
    for key in [
        "device.silence_timout",
        "http.listen",
        "store.commit_timeout",
    ] {
        assert!(output.contains(key), "{output}");
    }
}

#[test]
fn more_connections_than_open_files_are_refused_at_start() {
    let (status, output) = Daemon::builder()
        .set("device.max_connections=10000000")
        .run_to_failure();
    assert!(!status.success());
    assert!(output.contains("open files"), "{output}");
}

#[test]
fn the_default_connection_limit_follows_the_open_files_limit() {
    let daemon = Daemon::builder()
        .set("device.max_connections=0")
        .set("http.max_connections=10")
        .after_shell("ulimit -n 200")
        .start();
    let few = daemon.logged_with("level", "WARN");
    assert_eq!(few["max_connections"], 200 - 10 - 8 - 128);
    daemon.log_in("truck");
}
