//! The oldest program that can work on the schema: names the newest migration that a program must know for that.
//!
//! A change of the schema takes two releases. The first one only adds, so that programs of the release before still
//! work; a later one relies on the addition, and raises the name stored here. So instances can be upgraded one by one.

use sea_orm::{DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::Query};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

/// The name of this migration. It is the first value, and stays while later migrations only add.
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
