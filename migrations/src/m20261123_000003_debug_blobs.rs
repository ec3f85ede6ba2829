//! Debug blobs: firmware crash dumps, kept as they came.

use sea_orm_migration::prelude::*;

use crate::table::{bytes, table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum DebugBlobs {
    Table,
    Id,
    DeviceId,
    ReceivedAt,
    Size,
    Content,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, DebugBlobs::Table)
                    .col(
                        ColumnDef::new(DebugBlobs::Id)
                            .big_integer()
                            .not_null()
                            .auto_increment()
                            .primary_key(),
                    )
                    .col(text(manager, DebugBlobs::DeviceId, 64).not_null())
                    .col(
                        ColumnDef::new(DebugBlobs::ReceivedAt)
                            .big_integer()
                            .not_null(),
                    )
                    .col(ColumnDef::new(DebugBlobs::Size).big_integer().not_null())
                    .col(bytes(manager, DebugBlobs::Content).not_null())
                    .take(),
            )
            .await?;
        manager
            .create_index(
                Index::create()
                    .name("debug_blobs_of_vehicle")
                    .table(DebugBlobs::Table)
                    .col(DebugBlobs::DeviceId)
                    .col(DebugBlobs::ReceivedAt)
                    .col(DebugBlobs::Id)
                    .take(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(DebugBlobs::Table).take())
            .await
    }
}
