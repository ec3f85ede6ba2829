//! Lives of gateways: which one may write, and what it wrote last.

use sea_orm::{DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::ColumnDef};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

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

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        let big = |column: Instances| ColumnDef::new(column).big_integer().not_null().take();
        schema
            .create_table(
                table(schema, Instances::Table)
                    // A life: new at every start.
                    .col(text(schema, Instances::Id, 64).not_null().primary_key())
                    // What stays over lives. Characters, not bytes.
                    .col(text(schema, Instances::Name, 64).not_null())
                    // `live` or `dead`. What is dead never writes again.
                    .col(text(schema, Instances::State, 8).not_null())
                    // Counts commits: who looks twice sees whether it is alive.
                    .col(big(Instances::Renewals))
                    // The number of the batch that was committed last.
                    .col(big(Instances::Batch))
                    .take(),
            )
            .await
    }
}
