//! From which migration on a program has to know the schema, to work on it as it is.
//!
//! A change comes in two versions: the first only adds, and older programs go on beside it; a later one relies
//! on it, and raises what is written here. So instances are upgraded one by one.

use sea_orm_migration::prelude::*;

use crate::table::{table, text};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[derive(DeriveIden)]
pub(crate) enum Compatibility {
    Table,
    /// The name of a migration, in the only row.
    Since,
}

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .create_table(
                table(manager, Compatibility::Table)
                    .col(
                        text(manager, Compatibility::Since, 64)
                            .not_null()
                            .primary_key(),
                    )
                    .take(),
            )
            .await?;
        let insert = Query::insert()
            .into_table(Compatibility::Table)
            .columns([Compatibility::Since])
            .values_panic([self.name().into()])
            .to_owned();
        manager.execute(insert).await
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager
            .drop_table(Table::drop().table(Compatibility::Table).take())
            .await
    }
}
