//! Reports: the history of vehicles' states. The table has no foreign key: it grows without a limit and is purged in
//! small steps.

use sea_orm::{
    DbErr, DeriveIden,
    prelude::async_trait::async_trait,
    sea_query::{ColumnDef, Index},
};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Reports {
    Table,
    Id,
    DeviceId,
    ReceivedAt,
    Latitude,
    Longitude,
    Battery,
    Running,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        schema
            .create_table(
                table(schema, Reports::Table)
                    .col(
                        ColumnDef::new(Reports::Id)
                            .big_integer()
                            .not_null()
                            .auto_increment()
                            .primary_key(),
                    )
                    .col(text(schema, Reports::DeviceId, 64).not_null())
                    .col(ColumnDef::new(Reports::ReceivedAt).big_integer().not_null())
                    .col(ColumnDef::new(Reports::Latitude).double().not_null())
                    .col(ColumnDef::new(Reports::Longitude).double().not_null())
                    .col(ColumnDef::new(Reports::Battery).small_integer().not_null())
                    .col(ColumnDef::new(Reports::Running).boolean().not_null())
                    .take(),
            )
            .await?;
        // Serves the history of one vehicle in both orders, with the id as tie-break.
        schema
            .create_index(
                Index::create()
                    .name("reports_of_vehicle")
                    .table(Reports::Table)
                    .col(Reports::DeviceId)
                    .col(Reports::ReceivedAt)
                    .col(Reports::Id)
                    .take(),
            )
            .await
    }
}
