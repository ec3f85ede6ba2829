//! From which migration on a program has to know the schema, to work on it as it is.
//!
//! A change comes in two versions: the first only adds, and older programs go on beside it; a later one relies
//! on it, and raises what is written here. So instances are upgraded one by one.

use sea_orm::{DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::Query};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

/// The name of this migration: what follows only adds to it.
const NAME: &str = "m20261123_000007_compatibility";

pub(crate) struct Migration;

#[derive(DeriveIden)]
pub(crate) enum Compatibility {
    Table,
    /// The name of a migration, in the only row.
    Since,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        schema
            .create_table(
                table(schema, Compatibility::Table)
                    .col(
                        text(schema, Compatibility::Since, 64)
                            .not_null()
                            .primary_key(),
                    )
                    .take(),
            )
            .await?;
        let insert = Query::insert()
            .into_table(Compatibility::Table)
            .columns([Compatibility::Since])
            .values_panic([NAME.into()])
            .to_owned();
        schema.insert(insert).await
    }
}
