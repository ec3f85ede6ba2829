//! Webhooks: the endpoints, the delivery queues (`webhook_lanes`) of what each endpoint still has to receive about each
//! vehicle, and the messages.

use sea_orm::{
    DbErr, DeriveIden,
    prelude::async_trait::async_trait,
    sea_query::{ColumnDef, Index, IntoIden, Query, TableCreateStatement},
};

use crate::schema::{Migrate, Schema};
use crate::table::{table, text};

pub(crate) struct Migration;

#[derive(DeriveIden)]
enum WebhookEndpoints {
    Table,
    Id,
    Url,
    Events,
    Devices,
    Secret,
    PreviousSecret,
    PreviousUntil,
    Ordered,
    Coalesce,
    Configured,
    DisabledAt,
    DisabledReason,
    CreatedAt,
    UpdatedAt,
    Failures,
    FailingSince,
    PausedUntil,
    LastError,
    DeletedAt,
}

/// One row, whose version is counted up with every change of an endpoint, so that every instance notices the change
/// before its next batch.
#[derive(DeriveIden)]
enum WebhookSet {
    Table,
    Id,
    Version,
}

#[derive(DeriveIden)]
enum WebhookLanes {
    Table,
    EndpointId,
    DeviceId,
    LastSequence,
    DroppedThrough,
    Pending,
    Due,
    Blocked,
    Claim,
    OpenMessage,
    OpenChanged,
}

#[derive(DeriveIden)]
enum WebhookMessages {
    Table,
    Id,
    EndpointId,
    DeviceId,
    Sequence,
    Kind,
    State,
    Body,
    CreatedAt,
    Due,
    Attempts,
    AttemptedAt,
    FinishedAt,
    Status,
    TookMs,
    Answer,
    Error,
}

#[async_trait]
impl Migrate for Migration {
    async fn up(&self, schema: &Schema<'_>) -> Result<(), DbErr> {
        schema.create_table(endpoints(schema)).await?;
        let set = table(schema, WebhookSet::Table)
            .col(
                ColumnDef::new(WebhookSet::Id)
                    .small_integer()
                    .not_null()
                    .primary_key(),
            )
            .col(ColumnDef::new(WebhookSet::Version).big_integer().not_null())
            .take();
        schema.create_table(set).await?;
        let first = Query::insert()
            .into_table(WebhookSet::Table)
            .columns([WebhookSet::Id, WebhookSet::Version])
            .values_panic([1.into(), 0.into()])
            .to_owned();
        schema.insert(first).await?;
        schema.create_table(lanes(schema)).await?;
        // For the queues of an endpoint that are due. In an idle queue `due` is NULL.
        let due = Index::create()
            .name("webhook_lanes_due")
            .table(WebhookLanes::Table)
            .col(WebhookLanes::EndpointId)
            .col(WebhookLanes::Due)
            .take();
        schema.create_index(due).await?;
        let of_vehicle = Index::create()
            .name("webhook_lanes_of_vehicle")
            .table(WebhookLanes::Table)
            .col(WebhookLanes::DeviceId)
            .take();
        schema.create_index(of_vehicle).await?;
        schema.create_table(messages(schema)).await?;
        // For the next message of a queue, however many are behind it and however many were delivered.
        let next = Index::create()
            .name("webhook_messages_next")
            .table(WebhookMessages::Table)
            .col(WebhookMessages::EndpointId)
            .col(WebhookMessages::DeviceId)
            .col(WebhookMessages::State)
            .col(WebhookMessages::Sequence)
            .take();
        schema.create_index(next).await?;
        // For the list of an endpoint's messages by time: ids ascend with time.
        let log = Index::create()
            .name("webhook_messages_log")
            .table(WebhookMessages::Table)
            .col(WebhookMessages::EndpointId)
            .col(WebhookMessages::State)
            .col(WebhookMessages::Id)
            .take();
        schema.create_index(log).await
    }
}

fn big(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column).big_integer().take()
}

fn flag(column: impl IntoIden) -> ColumnDef {
    ColumnDef::new(column)
        .boolean()
        .not_null()
        .default(false)
        .take()
}

fn endpoints(schema: &Schema<'_>) -> TableCreateStatement {
    use WebhookEndpoints as C;
    table(schema, C::Table)
        .col(text(schema, C::Id, 36).not_null().primary_key())
        .col(ColumnDef::new(C::Url).string_len(2048).not_null())
        // A bit for each kind of event.
        .col(ColumnDef::new(C::Events).small_integer().not_null())
        // A JSON array of device ids; NULL is all vehicles.
        .col(ColumnDef::new(C::Devices).text())
        .col(ColumnDef::new(C::Secret).string_len(128).not_null())
        .col(ColumnDef::new(C::PreviousSecret).string_len(128))
        .col(big(C::PreviousUntil))
        .col(flag(C::Ordered))
        .col(flag(C::Coalesce))
        .col(flag(C::Configured))
        .col(big(C::DisabledAt))
        .col(ColumnDef::new(C::DisabledReason).string_len(32))
        .col(big(C::CreatedAt).not_null())
        .col(big(C::UpdatedAt).not_null())
        // The circuit breaker.
        .col(ColumnDef::new(C::Failures).integer().not_null().default(0))
        .col(big(C::FailingSince))
        .col(big(C::PausedUntil))
        .col(ColumnDef::new(C::LastError).string_len(255))
        // Set when the endpoint was deleted, until its queues and messages are purged.
        .col(big(C::DeletedAt))
        .take()
}

fn lanes(schema: &Schema<'_>) -> TableCreateStatement {
    use WebhookLanes as C;
    table(schema, C::Table)
        .col(text(schema, C::EndpointId, 36).not_null())
        .col(text(schema, C::DeviceId, 64).not_null())
        .col(big(C::LastSequence).not_null().default(0))
        // Messages up to this sequence number are from before a deletion of the vehicle: not delivered any more, then
        // purged.
        .col(big(C::DroppedThrough).not_null().default(0))
        .col(big(C::Pending).not_null().default(0))
        .col(big(C::Due))
        .col(flag(C::Blocked))
        .col(text(schema, C::Claim, 36))
        .col(text(schema, C::OpenMessage, 36))
        .col(
            ColumnDef::new(C::OpenChanged)
                .small_integer()
                .not_null()
                .default(0),
        )
        .primary_key(Index::create().col(C::EndpointId).col(C::DeviceId))
        .take()
}

fn messages(schema: &Schema<'_>) -> TableCreateStatement {
    use WebhookMessages as C;
    table(schema, C::Table)
        // A UUID of version 7 as text: it ascends with time.
        .col(text(schema, C::Id, 36).not_null().primary_key())
        .col(text(schema, C::EndpointId, 36).not_null())
        .col(text(schema, C::DeviceId, 64).not_null())
        .col(big(C::Sequence).not_null())
        .col(ColumnDef::new(C::Kind).string_len(32).not_null())
        // 0 pending, 1 delivered, 2 failed.
        .col(ColumnDef::new(C::State).small_integer().not_null())
        .col(ColumnDef::new(C::Body).text().not_null())
        .col(big(C::CreatedAt).not_null())
        .col(big(C::Due).not_null())
        .col(ColumnDef::new(C::Attempts).integer().not_null().default(0))
        .col(big(C::AttemptedAt))
        .col(big(C::FinishedAt))
        .col(ColumnDef::new(C::Status).integer())
        .col(big(C::TookMs))
        .col(ColumnDef::new(C::Answer).string_len(1024))
        .col(ColumnDef::new(C::Error).string_len(255))
        .take()
}
