//! What is looked for when an instance is gone: whose vehicles are whose, and whose time to come back is over.
//!
//! On a server only: a file has one instance, and every login would pay for what nobody looks for.

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
