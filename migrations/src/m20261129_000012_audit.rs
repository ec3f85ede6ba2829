//! What was done over the API, and by whom.

use sea_orm::{
    DbErr, DeriveIden,
    prelude::async_trait::async_trait,
    sea_query::{ColumnDef, Index, IndexCreateStatement},
};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(Clone, Copy, DeriveIden)]
enum AuditRecords {
    Table,
    Id,
    At,
    KeyId,
    KeyName,
    Address,
    Operation,
    Method,
    Path,
    DeviceId,
    Status,
    Problem,
    RequestId,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        let text = |column: AuditRecords, length| text(schema, column, length);
        schema
            .create_table(
                table(schema, AuditRecords::Table)
                    // A UUID of version 7, which ascends with time.
                    .col(text(AuditRecords::Id, 36).not_null().primary_key())
                    .col(ColumnDef::new(AuditRecords::At).big_integer().not_null())
                    .col(text(AuditRecords::KeyId, 12))
                    .col(text(AuditRecords::KeyName, 64))
                    .col(text(AuditRecords::Address, 45).not_null())
                    .col(text(AuditRecords::Operation, 64).not_null())
                    .col(text(AuditRecords::Method, 16).not_null())
                    .col(text(AuditRecords::Path, 255).not_null())
                    .col(text(AuditRecords::DeviceId, 64))
                    .col(ColumnDef::new(AuditRecords::Status).small_integer())
                    .col(text(AuditRecords::Problem, 64))
                    .col(text(AuditRecords::RequestId, 128).not_null())
                    .take(),
            )
            .await?;
        for (name, column) in [
            ("audit_records_by_key", AuditRecords::KeyId),
            ("audit_records_by_key_name", AuditRecords::KeyName),
            ("audit_records_by_device", AuditRecords::DeviceId),
        ] {
            schema.create_index(index(name, column)).await?;
        }
        Ok(())
    }
}

fn index(name: &str, column: AuditRecords) -> IndexCreateStatement {
    Index::create()
        .name(name)
        .table(AuditRecords::Table)
        .col(column)
        .col(AuditRecords::Id)
        .take()
}
