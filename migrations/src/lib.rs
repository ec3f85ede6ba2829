//! The schema of vehicle-gateway: one file for each migration. Migrations are applied in order and never changed after
//! a release.
#![cfg_attr(
    test,
    expect(clippy::unwrap_used, reason = "a test that cannot go on should stop")
)]

use std::{
    collections::BTreeSet,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbErr, DeriveIden, TransactionTrait,
    sea_query::{ColumnDef, Query, Table},
};

mod m20261123_000001_vehicles;
mod m20261123_000002_reports;
mod m20261123_000003_debug_blobs;
mod m20261123_000004_commands;
mod m20261123_000005_instances;
mod m20261123_000006_presence;
mod m20261123_000007_compatibility;
mod m20261123_000008_webhooks;
mod m20261129_000009_webhook_backlogs;
mod m20261129_000010_last_use;
mod m20261129_000011_api_keys;
mod m20261129_000012_audit;
mod schema;
mod table;

use m20261123_000007_compatibility::Compatibility;
use schema::{Migrate, Schema};

/// Every migration by its name, which is that of its file, oldest first.
const MIGRATIONS: &[(&str, &dyn Migrate)] = &[
    (
        "m20261123_000001_vehicles",
        &m20261123_000001_vehicles::Migration,
    ),
    (
        "m20261123_000002_reports",
        &m20261123_000002_reports::Migration,
    ),
    (
        "m20261123_000003_debug_blobs",
        &m20261123_000003_debug_blobs::Migration,
    ),
    (
        "m20261123_000004_commands",
        &m20261123_000004_commands::Migration,
    ),
    (
        "m20261123_000005_instances",
        &m20261123_000005_instances::Migration,
    ),
    (
        "m20261123_000006_presence",
        &m20261123_000006_presence::Migration,
    ),
    (
        "m20261123_000007_compatibility",
        &m20261123_000007_compatibility::Migration,
    ),
    (
        "m20261123_000008_webhooks",
        &m20261123_000008_webhooks::Migration,
    ),
    (
        "m20261129_000009_webhook_backlogs",
        &m20261129_000009_webhook_backlogs::Migration,
    ),
    (
        "m20261129_000010_last_use",
        &m20261129_000010_last_use::Migration,
    ),
    (
        "m20261129_000011_api_keys",
        &m20261129_000011_api_keys::Migration,
    ),
    ("m20261129_000012_audit", &m20261129_000012_audit::Migration),
];

/// The table of applied migrations, as `sea-orm-migration` lays it out, so that its tools can read it.
#[derive(DeriveIden)]
#[sea_orm(iden = "seaql_migrations")]
enum AppliedMigrations {
    #[sea_orm(iden = "seaql_migrations")]
    Table,
    /// The name of a migration.
    Version,
    /// When it was applied, in seconds since 1970 UTC.
    AppliedAt,
}

/// Brings the schema of a database up to date. A schema that a newer version of the gateway has changed is left as it
/// is, and the log says so.
///
/// # Errors
///
/// An error of the database, or one that says that the newer schema requires a migration that this program does not
/// know, or lacks one that it needs.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    let applied = applied(db).await?;
    let is_known = |name: &str| MIGRATIONS.iter().any(|(known, _)| *known == name);
    let newer = applied.iter().filter(|name| !is_known(name)).max();
    let Some(newer) = newer else {
        for (name, migration) in MIGRATIONS {
            if !applied.contains(*name) {
                apply(db, name, *migration).await?;
            }
        }
        return Ok(());
    };
    // Versions only add migrations, so this schema is not that of a later one. Applying what is missing could contradict
    // what nobody here knows.
    let missing = MIGRATIONS.iter().find(|(name, _)| !applied.contains(*name));
    if let Some((missing, _)) = missing {
        return Err(DbErr::Custom(format!(
            "it was changed by another version ({newer}) and lacks {missing}, which this version needs; \
             start a version that knows both"
        )));
    }
    let since = compatible_since(db).await?;
    if !is_known(&since) {
        return Err(DbErr::Custom(format!(
            "it was changed by a newer version (up to {newer}), and only versions that know {since} can work on it; \
             start that version"
        )));
    }
    tracing::warn!(
        target: "vehicle_gateway::store",
        newer,
        "the schema is of a newer version, which only added to it: this version works on it and leaves it as it is"
    );
    Ok(())
}

/// The names of the migrations that were applied to the database. Creates the table of applied migrations if it is
/// missing.
async fn applied(db: &DatabaseConnection) -> Result<BTreeSet<String>, DbErr> {
    let table = Table::create()
        .table(AppliedMigrations::Table)
        .if_not_exists()
        .col(
            ColumnDef::new(AppliedMigrations::Version)
                .string()
                .not_null()
                .primary_key(),
        )
        .col(
            ColumnDef::new(AppliedMigrations::AppliedAt)
                .big_integer()
                .not_null(),
        )
        .take();
    db.execute(&table).await?;
    let names = Query::select()
        .column(AppliedMigrations::Version)
        .from(AppliedMigrations::Table)
        .take();
    let rows = db.query_all(&names).await?;
    rows.iter().map(|row| row.try_get_by_index(0)).collect()
}

async fn apply(db: &DatabaseConnection, name: &str, migration: &dyn Migrate) -> Result<(), DbErr> {
    let transaction = db.begin().await?;
    migration.up(&Schema(&transaction)).await?;
    // A clock before 1970 must not keep a gateway from its database: the time is only for people to read.
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.map_or(0, |since: Duration| since.as_secs());
    let record = Query::insert()
        .into_table(AppliedMigrations::Table)
        .columns([AppliedMigrations::Version, AppliedMigrations::AppliedAt])
        .values_panic([name.into(), i64::try_from(now).unwrap_or(i64::MAX).into()])
        .take();
    transaction.execute(&record).await?;
    transaction.commit().await
}

async fn compatible_since(db: &DatabaseConnection) -> Result<String, DbErr> {
    let query = Query::select()
        .column(Compatibility::Since)
        .from(Compatibility::Table)
        .to_owned();
    let row = db.query_one(&query).await?;
    let since = row.map(|row| row.try_get_by_index(0)).transpose()?;
    since.ok_or_else(|| DbErr::Custom("table compatibility is empty".to_owned()))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::MIGRATIONS;

    #[test]
    fn every_migration_file_is_listed_once_in_order_under_its_name() {
        let files: BTreeSet<String> = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
            .unwrap()
            .map(|file| file.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with('m'))
            .map(|name| name.trim_end_matches(".rs").to_owned())
            .collect();
        let listed: Vec<&str> = MIGRATIONS.iter().map(|(name, _)| *name).collect();
        assert_eq!(listed, files.iter().collect::<Vec<_>>());
    }
}
