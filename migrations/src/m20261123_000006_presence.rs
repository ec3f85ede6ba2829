//! Indexes for what is searched when an instance has died: the vehicles that an incarnation holds, and the vehicles
//! whose grace is over.
//!
//! On a server only: a file has one instance, which never searches for these, and every login would pay for the
//! indexes.

use sea_orm::{DbBackend, DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::Index};

use crate::schema::{Migrate, Schema};

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

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        if schema.backend() == DbBackend::Sqlite {
            return Ok(());
        }
        schema
            .create_index(
                Index::create()
                    .name(BY_INSTANCE)
                    .table(Vehicles::Table)
                    .col(Vehicles::InstanceId)
                    .col(Vehicles::DeviceId)
                    .take(),
            )
            .await?;
        schema
            .create_index(
                Index::create()
                    .name(BY_OFFLINE_DUE)
                    .table(Vehicles::Table)
                    .col(Vehicles::OfflineDue)
                    .take(),
            )
            .await
    }
}
