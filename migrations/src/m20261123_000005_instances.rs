//! Incarnations of gateways: which ones may write, and the last batch of each.

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
                    // The id of the incarnation: new at every start.
                    .col(text(schema, Instances::Id, 64).not_null().primary_key())
                    // The name of the instance, which all its incarnations share. The length is in characters, not
                    // bytes.
                    .col(text(schema, Instances::Name, 64).not_null())
                    // `live` or `dead`. A dead incarnation never writes again.
                    .col(text(schema, Instances::State, 8).not_null())
                    // The number of commits: an instance that reads it twice sees whether the incarnation is alive.
                    .col(big(Instances::Renewals))
                    // The number of the batch that was committed last.
                    .col(big(Instances::Batch))
                    .take(),
            )
            .await
    }
}
