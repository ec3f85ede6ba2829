//! What is looked for when an instance is gone: whose vehicles are whose, and whose time to come back is over.
//!
//! On a server only: a file has one instance, and every login would pay for what nobody looks for.

use sea_orm_migration::{prelude::*, sea_orm::DatabaseBackend};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Vehicles {
    Table,
    InstanceId,
    DeviceId,
    OfflineDue,
}

const BY_INSTANCE: &str = "vehicles_by_instance";
const BY_OFFLINE_DUE: &str = "vehicles_by_offline_due";

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DatabaseBackend::Sqlite {
            return Ok(());
        }
        manager
            .create_index(
                Index::create()
                    .name(BY_INSTANCE)
                    .table(Vehicles::Table)
                    .col(Vehicles::InstanceId)
                    .col(Vehicles::DeviceId)
                    .take(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name(BY_OFFLINE_DUE)
                    .table(Vehicles::Table)
                    .col(Vehicles::OfflineDue)
                    .take(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() == DatabaseBackend::Sqlite {
            return Ok(());
        }
        for name in [BY_INSTANCE, BY_OFFLINE_DUE] {
            manager
                .drop_index(Index::drop().name(name).table(Vehicles::Table).to_owned())
                .await?;
        }
        Ok(())
    }
}
