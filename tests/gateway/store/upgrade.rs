//! The present version on the schema of a later one.

use serde_json::json;

use crate::support::{Daemon, Database, change, on_every_database};

/// A migration that the present version does not know.
const LATER: &str = "m20991231_000001_later";

on_every_database! {
    a_schema_extended_by_a_later_version_is_used_as_it_is,
    a_schema_that_requires_a_later_version_is_refused_unchanged,
    a_schema_of_another_branch_is_refused_unchanged,
}

/// Records the migration of a later version that added a column.
fn add_later_migration(daemon: &Daemon) {
    let url = daemon.database_url();
    change(
        &url,
        "ALTER TABLE vehicles ADD COLUMN of_a_later_version BIGINT DEFAULT 7 NOT NULL",
    );
    let record =
        format!("INSERT INTO seaql_migrations (version, applied_at) VALUES ('{LATER}', 0)");
    change(&url, &record);
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
    let told = daemon.logged_containing("the schema is of a newer version");
    assert_eq!(told["newer"], LATER);
    let _device = daemon.log_in("truck");
    assert_eq!(daemon.vehicle("truck")["online"], true);
    let added = "SELECT of_a_later_version FROM vehicles";
    assert_eq!(daemon.query(added), ["7"]);
}

/// A schema with a migration that the present version does not know, and without one that it needs.
fn a_schema_of_another_branch_is_refused_unchanged(database: &Database) {
    let daemon = stop(Daemon::on(database).start());
    let applied = "SELECT version FROM seaql_migrations ORDER BY version DESC";
    let missing = daemon.query(applied).swap_remove(0);
    add_later_migration(&daemon);
    let remove = format!("DELETE FROM seaql_migrations WHERE version = '{missing}'");
    change(&daemon.database_url(), &remove);
    let before = daemon.query(applied);

    let (status, output) = daemon.restart_builder().run_to_failure();
    assert_eq!(status.code(), Some(1), "{output}");
    let refusal = format!("it was changed by another version ({LATER}) and lacks {missing}");
    assert!(output.contains(&refusal), "{output}");
    assert_eq!(daemon.query(applied), before);
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
    let incarnations = daemon.query("SELECT id FROM instances ORDER BY id");

    let (status, output) = daemon.restart_builder().run_to_failure();
    assert_eq!(status.code(), Some(1), "{output}");
    let refusal = format!(
        "it was changed by a newer version (up to {LATER}), and only versions that know {LATER} can work on it; start that version"
    );
    assert!(output.contains(&refusal), "{output}");
    assert!(output.contains("cannot migrate database"), "{output}");
    assert_eq!(daemon.query("SELECT since FROM compatibility"), [LATER]);
    assert_eq!(
        daemon.query("SELECT id FROM instances ORDER BY id"),
        incarnations,
        "no incarnation was begun"
    );

    // Nothing else prevented the start.
    since(&compatible[0]);
    let daemon = daemon.restart_builder().start();
    assert_eq!(daemon.vehicle("truck")["deviceId"], "truck");
}

#[test]
fn a_migration_that_was_killed_before_it_was_recorded_goes_on() {
    // On MariaDB each change of the schema is committed by itself.
    let database = Database::mariadb();
    let daemon = stop(Daemon::on(&database).start());
    let forget = "DELETE FROM seaql_migrations WHERE version > 'm20261123_000003'";
    change(&daemon.database_url(), forget);
    let daemon = daemon.restart_builder().start();
    let _device = daemon.log_in("truck");
    assert_eq!(daemon.query("SELECT count(*) FROM compatibility"), ["1"]);
}

#[test]
fn a_table_of_another_program_is_refused() {
    let database = Database::mariadb();
    let builder = Daemon::on(&database);
    let other = "CREATE TABLE vehicles (id INT PRIMARY KEY, owner TEXT)";
    change(builder.database_url(), other);
    let (status, output) = builder.run_to_failure();
    assert_eq!(status.code(), Some(1));
    assert!(output.contains("'vehicles' already exists"), "{output}");
}
