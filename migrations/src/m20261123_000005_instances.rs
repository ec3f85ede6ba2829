//! Lives of gateways: which one may write, and what it wrote last.

use sea_orm_migration::prelude::*;

use crate::table::{table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Instances {
    Table,
    Id,
    Name,
    State,
    Renewals,
    Batch,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let big = |column: Instances| ColumnDef::new(column).big_integer().not_null().take();
        manager
            .create_table(
                table(manager, Instances::Table)
                    // A life: new at every start.
                    .col(text(manager, Instances::Id, 64).not_null().primary_key())
                    // What stays over lives. Characters, not bytes.
                    .col(text(manager, Instances::Name, 64).not_null())
                    // `live` or `dead`. What is dead never writes again.
                    .col(text(manager, Instances::State, 8).not_null())
                    // Counts commits: who looks twice sees whether it is alive.
                    .col(big(Instances::Renewals))
                    // The number of the batch that was committed last.
                    .col(big(Instances::Batch))
                    .take(),
            )
            .await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(Instances::Table).take())
            .await
    }
}
