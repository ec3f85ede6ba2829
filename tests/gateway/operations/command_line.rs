//! Subcommands that run and exit.

use std::process::Command;

use crate::support::Daemon;

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
fn explain_tells_what_is_wrong_in_the_words_of_the_log() {
    let explain = |sentence: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
            .args(["explain", sentence])
            .output()
            .unwrap();
        (output.status, String::from_utf8(output.stdout).unwrap())
    };
    let (status, said) = explain("PING.");
    assert!(status.success(), "{said}");

    let bad = "REPORT. I'M HERE 43.62 11.46, RUNNING AND CHARGED AT 47.5%.";
    let (status, said) = explain(bad);
    assert_eq!(status.code(), Some(1));
    // As docs/protocol.md shows it.
    let page = include_str!("../../../docs/protocol.md");
    assert!(
        page.contains(&format!("explain \"{bad}\"\n{said}")),
        "{said}"
    );

    let daemon = Daemon::start();
    let mut device = daemon.log_in("truck");
    device.say(bad);
    device.expect("SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.");
    let logged = daemon.logged_containing("bad sentence");
    let reason = logged["reason"].as_str().unwrap();
    assert!(said.contains(&format!("bad: {reason}\n")), "{said}");
}

#[test]
fn a_secret_in_a_wrong_argument_is_not_repeated() {
    for arguments in [
        &["redis.url=redis://:s3cret@host"][..],
        &["--set", "a.b=c", "redis.url=redis://:s3cret@host"],
        &["redis://:s3cret@host"],
        &["webhooks.endpoints=[{ secret = \"s3cret\" }]"],
        &["--sett=redis.url=redis://:s3cret@host"],
        &["simulate", "--set=redis.url=redis://:s3cret@host"],
        &["simulate", "redis.url=redis://:s3cret@host"],
        &["simulate", "--devices=redis://:s3cret@host"],
        &["--set", "redis.url=redis:://:s3cret@host"],
        &["--set", "redis://:s3cret@host?a=b"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
            .args(arguments)
            .output()
            .unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!said.is_empty() && !said.contains("s3cret"), "{said}");
    }
}
