//! How far the messages of a webhook endpoint follow its events: what expired, and whether it is behind.

use sea_orm::{DbErr, DeriveIden, prelude::async_trait::async_trait, sea_query::ColumnDef};

use crate::schema::{Migrate, Schema};

pub(crate) struct Migration;

#[derive(DeriveIden, Clone, Copy)]
enum WebhookEndpoints {
    Table,
    Expired,
    BehindSince,
    CatchUpAt,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        let columns = [
            // Messages that were dropped because too many were pending.
            ColumnDef::new(WebhookEndpoints::Expired)
                .big_integer()
                .not_null()
                .default(0)
                .take(),
            // Since when state changes are not stored as messages; NULL while all are.
            ColumnDef::new(WebhookEndpoints::BehindSince)
                .big_integer()
                .take(),
            // Set when they are stored again: from then on the vehicles that changed meanwhile are reported.
            ColumnDef::new(WebhookEndpoints::CatchUpAt)
                .big_integer()
                .take(),
        ];
        schema.add_columns(WebhookEndpoints::Table, &columns).await
    }
}
