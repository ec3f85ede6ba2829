//! Vehicles: what is known of each, and which incarnation holds its session.
//!
//! Times are milliseconds since 1970 UTC. Unknown is NULL. Columns that are NOT NULL have defaults,
//! so that a statement that updates some columns by `INSERT … ON CONFLICT` need not name the rest.

use sea_orm::{
    DbErr, DeriveIden,
    prelude::async_trait::async_trait,
    sea_query::{ColumnDef, Index},
};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Vehicles {
    Table,
    DeviceId,
    Online,
    SessionEpoch,
    InstanceId,
    ConnectedAt,
    DisconnectedAt,
    DisconnectReason,
    OfflineDue,
    RemoteAddr,
    Latitude,
    Longitude,
    Battery,
    Running,
    ReportedAt,
    LastHeartbeat,
    UpdateFrequency,
    AcknowledgedUpdateFrequency,
    CreatedAt,
    UpdatedAt,
    DeletedAt,
    ForgetThrough,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        let big = |column: Vehicles| ColumnDef::new(column).big_integer().take();
        schema
            .create_table(
                table(schema, Vehicles::Table)
                    .col(
                        text(schema, Vehicles::DeviceId, 64)
                            .not_null()
                            .primary_key(),
                    )
                    .col(
                        ColumnDef::new(Vehicles::Online)
                            .boolean()
                            .not_null()
                            .default(false),
                    )
                    .col(big(Vehicles::SessionEpoch).not_null().default(0))
                    .col(text(schema, Vehicles::InstanceId, 64))
                    .col(big(Vehicles::ConnectedAt))
                    .col(big(Vehicles::DisconnectedAt))
                    .col(ColumnDef::new(Vehicles::DisconnectReason).string_len(32))
                    .col(big(Vehicles::OfflineDue))
                    .col(ColumnDef::new(Vehicles::RemoteAddr).string_len(64))
                    .col(ColumnDef::new(Vehicles::Latitude).double())
                    .col(ColumnDef::new(Vehicles::Longitude).double())
                    .col(ColumnDef::new(Vehicles::Battery).small_integer())
                    .col(ColumnDef::new(Vehicles::Running).boolean())
                    .col(big(Vehicles::ReportedAt))
                    .col(big(Vehicles::LastHeartbeat))
                    .col(ColumnDef::new(Vehicles::UpdateFrequency).small_integer())
                    .col(ColumnDef::new(Vehicles::AcknowledgedUpdateFrequency).small_integer())
                    .col(big(Vehicles::CreatedAt).not_null().default(0))
                    .col(big(Vehicles::UpdatedAt).not_null().default(0))
                    .col(big(Vehicles::DeletedAt))
                    // History up to this time is from before a deletion of the vehicle: hidden, then purged.
                    .col(big(Vehicles::ForgetThrough))
                    .take(),
            )
            .await?;
        schema
            .create_index(
                Index::create()
                    .name("vehicles_online")
                    .table(Vehicles::Table)
                    .col(Vehicles::Online)
                    .col(Vehicles::DeviceId)
                    .take(),
            )
            .await?;
        schema
            .create_index(
                Index::create()
                    .name("vehicles_forget_through")
                    .table(Vehicles::Table)
                    .col(Vehicles::ForgetThrough)
                    .take(),
            )
            .await
    }
}
