//! Commands and their outcomes, and the idempotency keys under which callers may repeat a request.

use sea_orm::{
    DbErr, DeriveIden,
    prelude::async_trait::async_trait,
    sea_query::{ColumnDef, Index, IndexCreateStatement, TableCreateStatement},
};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum Commands {
    Table,
    Id,
    DeviceId,
    Message,
    Origin,
    State,
    CreatedAt,
    ExpiresAt,
    SentAt,
    FinishedAt,
    Reply,
    LateReply,
}

#[derive(DeriveIden)]
enum IdempotencyKeys {
    Table,
    DeviceId,
    Key,
    CommandId,
    Request,
    CreatedAt,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        schema.create_table(commands(schema)).await?;
        // For the list of a vehicle's commands by time: ids ascend with time.
        let log = [Commands::DeviceId, Commands::Id];
        schema
            .create_index(index("commands_of_vehicle", log))
            .await?;
        // For the open commands of a vehicle, whose `finished_at` is NULL, without reading finished ones.
        let open_of_vehicle = [Commands::DeviceId, Commands::FinishedAt];
        schema
            .create_index(index("commands_open_of_vehicle", open_of_vehicle))
            .await?;
        let due = [Commands::FinishedAt, Commands::ExpiresAt];
        schema.create_index(index("commands_due", due)).await?;
        schema.create_table(idempotency_keys(schema)).await?;
        schema
            .create_index(
                Index::create()
                    .name("idempotency_keys_by_age")
                    .table(IdempotencyKeys::Table)
                    .col(IdempotencyKeys::CreatedAt)
                    .take(),
            )
            .await
    }
}

fn commands(schema: &Schema<'_>) -> TableCreateStatement {
    let big = |column: Commands| ColumnDef::new(column).big_integer().take();
    let text = |column: Commands, length| text(schema, column, length);
    table(schema, Commands::Table)
        // A UUID of version 7, which ascends with time. As text, so that people can read it.
        .col(text(Commands::Id, 36).not_null().primary_key())
        .col(text(Commands::DeviceId, 64).not_null())
        .col(text(Commands::Message, 64).not_null())
        .col(text(Commands::Origin, 16).not_null())
        .col(text(Commands::State, 16).not_null())
        .col(big(Commands::CreatedAt).not_null())
        .col(big(Commands::ExpiresAt).not_null())
        .col(big(Commands::SentAt))
        .col(big(Commands::FinishedAt))
        .col(text(Commands::Reply, 160))
        .col(text(Commands::LateReply, 160))
        .take()
}

fn idempotency_keys(schema: &Schema<'_>) -> TableCreateStatement {
    let text = |column: IdempotencyKeys, length| text(schema, column, length).not_null().take();
    table(schema, IdempotencyKeys::Table)
        .col(text(IdempotencyKeys::DeviceId, 64))
        .col(text(IdempotencyKeys::Key, 128))
        .col(text(IdempotencyKeys::CommandId, 36))
        .col(text(IdempotencyKeys::Request, 160))
        .col(
            ColumnDef::new(IdempotencyKeys::CreatedAt)
                .big_integer()
                .not_null(),
        )
        .primary_key(
            Index::create()
                .col(IdempotencyKeys::DeviceId)
                .col(IdempotencyKeys::Key),
        )
        .take()
}

fn index(name: &str, columns: [Commands; 2]) -> IndexCreateStatement {
    let mut index = Index::create().name(name).table(Commands::Table).take();
    for column in columns {
        index.col(column);
    }
    index
}
