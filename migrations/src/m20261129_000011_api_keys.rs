//! Keys of the API.

use sea_orm::{DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::ColumnDef};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum ApiKeys {
    Table,
    Id,
    Name,
    Hash,
    PreviousHash,
    PreviousUntil,
    Scopes,
    CreatedAt,
    CreatedBy,
    ExpiresAt,
    RevokedAt,
    LastUsedAt,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        let text = |column: ApiKeys, length| text(schema, column, length);
        let big = |column: ApiKeys| ColumnDef::new(column).big_integer().take();
        // There are at most some thousand, and every reader reads all: no index beside that of the ids.
        schema
            .create_table(
                table(schema, ApiKeys::Table)
                    .col(text(ApiKeys::Id, 12).not_null().primary_key())
                    .col(text(ApiKeys::Name, 64).not_null())
                    // The SHA-256 of the key, in hexadecimal.
                    .col(text(ApiKeys::Hash, 64).not_null())
                    .col(text(ApiKeys::PreviousHash, 64))
                    .col(big(ApiKeys::PreviousUntil))
                    // Names of scopes, joined by commas.
                    .col(text(ApiKeys::Scopes, 255).not_null())
                    .col(big(ApiKeys::CreatedAt).not_null())
                    .col(text(ApiKeys::CreatedBy, 64))
                    .col(big(ApiKeys::ExpiresAt))
                    .col(big(ApiKeys::RevokedAt))
                    .col(big(ApiKeys::LastUsedAt))
                    .take(),
            )
            .await
    }
}
