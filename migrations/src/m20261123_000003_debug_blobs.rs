//! Debug blobs: firmware crash dumps, stored as they were received.

use sea_orm::{
    DbErr, DeriveIden,
    prelude::async_trait::async_trait,
    sea_query::{ColumnDef, Index},
};

use crate::schema::{Migrate, Schema};
use crate::table::{bytes, table, text};

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

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        schema
            .create_table(
                table(schema, DebugBlobs::Table)
                    .col(
                        ColumnDef::new(DebugBlobs::Id)
                            .big_integer()
                            .not_null()
                            .auto_increment()
                            .primary_key(),
                    )
                    .col(text(schema, DebugBlobs::DeviceId, 64).not_null())
                    .col(
                        ColumnDef::new(DebugBlobs::ReceivedAt)
                            .big_integer()
                            .not_null(),
                    )
                    .col(ColumnDef::new(DebugBlobs::Size).big_integer().not_null())
                    .col(bytes(schema, DebugBlobs::Content).not_null())
                    .take(),
            )
            .await?;
        schema
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
}
