//! Subcommands that run and exit.

use std::process::Command;

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
