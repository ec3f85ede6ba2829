//! The schema of vehicle-gateway: one file a migration, applied in order and never edited after a
//! release.

use std::collections::BTreeSet;

use sea_orm_migration::{
    MigrationTrait, MigratorTrait, async_trait,
    prelude::{DbErr, Query},
    sea_orm::{ConnectionTrait, DatabaseConnection},
};

mod m20261123_000001_vehicles;
mod m20261123_000002_reports;
mod m20261123_000003_debug_blobs;
mod m20261123_000004_commands;
mod m20261123_000005_instances;
mod m20261123_000006_presence;
mod m20261123_000007_compatibility;
mod m20261123_000008_webhooks;
mod table;

use m20261123_000007_compatibility::Compatibility;

/// Brings a schema up to date. One that a newer version has changed is left as it is.
///
/// # Errors
///
/// What the database said; or that the newer version's schema asks for more than this program knows.
pub async fn migrate(db: &DatabaseConnection) -> Result<(), DbErr> {
    let known: BTreeSet<String> = Migrator::migrations()
        .iter()
        .map(|migration| migration.name().to_owned())
        .collect();
    let applied = Migrator::get_migration_models(db).await?;
    let newer = applied
        .iter()
        .map(|migration| migration.version.as_str())
        .filter(|version| !known.contains(*version))
        .max();
    let Some(newer) = newer else {
        return Migrator::up(db, None).await;
    };
    let since = compatible_since(db).await?;
    if known.contains(&since) {
        return Ok(());
    }
    Err(DbErr::Custom(format!(
        "it was changed by a newer version (up to {newer}), and only versions that know {since} can work on it; \
         start that version"
    )))
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

/// Every migration, oldest first.
#[derive(Debug)]
struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m20261123_000001_vehicles::Migration),
            Box::new(m20261123_000002_reports::Migration),
            Box::new(m20261123_000003_debug_blobs::Migration),
            Box::new(m20261123_000004_commands::Migration),
            Box::new(m20261123_000005_instances::Migration),
            Box::new(m20261123_000006_presence::Migration),
            Box::new(m20261123_000007_compatibility::Migration),
            Box::new(m20261123_000008_webhooks::Migration),
        ]
    }
}
