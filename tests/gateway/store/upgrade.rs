//! An older version of the program on the schema of a later one.

use serde_json::json;

use crate::support::{Daemon, Database, change, on_every_database};

/// Not known to the version at hand, which so is the older one.
const LATER: &str = "m20991231_000001_later";

on_every_database! {
    a_schema_extended_by_a_later_version_is_used_as_it_is,
    a_schema_that_requires_a_later_version_is_refused_unchanged,
}

/// A daemon's start on its database, now that a later version has been there.
fn add_later_migration(daemon: &Daemon) {
    let url = daemon.database_url();
    change(
        &url,
        "ALTER TABLE vehicles ADD COLUMN of_a_later_version BIGINT DEFAULT 7 NOT NULL",
    );
    let note = format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{LATER}', 0)");
    change(&url, &note);
}

fn stop(mut daemon: Daemon) -> Daemon {
    daemon.signal("TERM");
    assert!(daemon.wait().success());
    daemon
}

fn a_schema_extended_by_a_later_version_is_used_as_it_is(database: &Database) {
    let daemon = stop(Daemon::on(database).start());
    add_later_migration(&daemon);
    let daemon = daemon.restart_builder().start();
    let _device = daemon.log_in("truck");
    assert_eq!(daemon.vehicle("truck")["online"], true);
    let added = "SELECT of_a_later_version FROM vehicles";
    assert_eq!(daemon.query(added), ["7"]);
}

fn a_schema_that_requires_a_later_version_is_refused_unchanged(database: &Database) {
    let daemon = Daemon::on(database).start();
    let registered = daemon.post("/vehicles", &json!({"deviceId": "truck"}));
    assert_eq!(registered.status(), 201);
    let daemon = stop(daemon);
    add_later_migration(&daemon);
    let compatible = daemon.query("SELECT since FROM compatibility");
    let since = |name: &str| {
        let sql = format!("UPDATE compatibility SET since = '{name}'");
        change(&daemon.database_url(), &sql);
    };
    since(LATER);
    let lives = daemon.query("SELECT id FROM instances ORDER BY id");

    let (status, said) = daemon.restart_builder().run_to_failure();
    assert_eq!(status.code(), Some(1), "{said}");
    let refusal = format!(
        "it was changed by a newer version (up to {LATER}), and only versions that know {LATER} can work on it; start that version"
    );
    assert!(said.contains(&refusal), "{said}");
    assert!(said.contains("cannot migrate database"), "{said}");
    assert_eq!(daemon.query("SELECT since FROM compatibility"), [LATER]);
    assert_eq!(
        daemon.query("SELECT id FROM instances ORDER BY id"),
        lives,
        "it began no life there"
    );

    // Nothing else was wrong with it.
    since(&compatible[0]);
    let daemon = daemon.restart_builder().start();
    assert_eq!(daemon.vehicle("truck")["deviceId"], "truck");
}
