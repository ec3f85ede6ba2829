//! The schema of vehicle-gateway: one file a migration, applied in order and never edited after a
//! release.

pub use sea_orm_migration::MigratorTrait;
use sea_orm_migration::{MigrationTrait, async_trait};

mod m20261123_000001_vehicles;
mod m20261123_000002_reports;
mod m20261123_000003_debug_blobs;
mod m20261123_000004_commands;
mod m20261123_000005_instances;
mod m20261123_000006_presence;
mod table;

/// Every migration, oldest first.
#[derive(Debug)]
pub struct Migrator;

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
        ]
    }
}
