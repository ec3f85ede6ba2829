//! Which instance sent webhooks from this database last: a copy of the database that is used elsewhere is known by that.

use sea_orm::{DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::ColumnDef};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum LastUse {
    Table,
    Id,
    Instance,
    Host,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        let id = ColumnDef::new(LastUse::Id)
            .small_integer()
            .not_null()
            .primary_key()
            .take();
        schema
            .create_table(
                table(schema, LastUse::Table)
                    // 1: there is one row, or none.
                    .col(id)
                    .col(text(schema, LastUse::Instance, 64).not_null())
                    .col(text(schema, LastUse::Host, 255).not_null())
                    .take(),
            )
            .await
    }
}
