//! One batch, one transaction: read the rows, fold the intents, write each row once.
//!
//! Cost: one SELECT for each 512 vehicles that the last batches did not touch, one INSERT for each 64
//! to 256 changed rows of a table (in powers of two, so that a handful of prepared statements serves
//! every size), one commit with its fsync.

mod rows;

use std::{collections::HashMap, time::Duration};

use sea_orm::{
    ActiveValue::Set, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, EntityTrait,
    Iterable, SqliteTransactionMode, TransactionOptions, TransactionTrait, sea_query::Value,
};
use tokio::time::timeout;
use uuid::Uuid;

use super::{
    clock::Clock,
    database::{Fenced, renew, roll_call},
    entities::{command, debug_blob, idempotency_key, report, vehicle},
    fold::{Change, Fold, NewBlob, NewReport, Row, commands::Commands},
    intent::{Eviction, Intent, Queued},
    purge,
    statements::{Texts, insert, upsert},
    webhooks::{self, Happened, WebhookEffects},
};
use crate::domain::{Command, DeviceId, Event, Timestamp, VehicleChange};
use rows::{read_commands, read_vehicles};

pub(super) use rows::KnownRows;

/// Which batch of which life it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number {
    pub(super) life: Uuid,
    pub(super) batch: i64,
}

/// What a batch does to others than those who wait for its intents.
#[derive(Debug, Clone, Default)]
pub(super) struct Effects {
    /// Commands that come to their end.
    pub(super) ended: Vec<Command>,
    /// Sessions of other instances that are over.
    pub(super) evictions: Vec<Eviction>,
    /// What it does about webhooks.
    pub(super) webhooks: WebhookEffects,
}

/// Why a batch is not known to be stored.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing of it is stored; it may be applied again.
    Failed(DbErr),
    /// COMMIT was not answered. With what it does, if it was done.
    Unknown(DbErr, Effects),
    /// This life was declared dead.
    Fenced,
}

impl From<DbErr> for Failure {
    fn from(error: DbErr) -> Self {
        Self::Failed(error)
    }
}

/// Applies `batch`, but for what it marks as deferred, and commits. After any failure neither `db` nor
/// `known` must be used again.
pub(super) async fn apply(
    db: &DatabaseConnection,
    known: &mut KnownRows,
    clock: &Clock,
    number: Number,
    batch: &mut [Queued],
) -> Result<Effects, Failure> {
    let is_file = db.get_database_backend() == DbBackend::Sqlite;
    // On an error the caller throws the connection away, and the transaction with it.
    let prepared = prepare(db, known, clock, number, batch);
    let (transaction, rows, effects) = if is_file {
        prepared.await?
    } else {
        timeout(ANSWER_TIMEOUT, prepared)
            .await
            .map_err(|_elapsed| silent())??
    };
    let commit = transaction.commit();
    let committed = if is_file {
        commit.await.map_err(Failure::Failed)
    } else {
        let answered = timeout(ANSWER_TIMEOUT, commit).await;
        answered
            .unwrap_or_else(|_elapsed| Err(silent()))
            .map_err(|error| Failure::Unknown(error, effects.clone()))
    };
    committed?;
    known.keep(rows);
    Ok(effects)
}

/// A server that does not answer for this long is taken for gone: a batch takes milliseconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

fn silent() -> DbErr {
    DbErr::Custom(format!("no answer within {ANSWER_TIMEOUT:?}"))
}

/// Everything but the commit.
async fn prepare(
    db: &DatabaseConnection,
    known: &mut KnownRows,
    clock: &Clock,
    number: Number,
    batch: &mut [Queued],
) -> Result<(DatabaseTransaction, HashMap<DeviceId, Row>, Effects), Failure> {
    let is_file = db.get_database_backend() == DbBackend::Sqlite;
    let transaction = db
        .begin_with_options(TransactionOptions {
            // A deferred transaction that reads first fails at once when it comes to write.
            sqlite_transaction_mode: is_file.then_some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        })
        .await?;
    if !is_file {
        if let Err(Fenced) = renew(&transaction, number.life, number.batch).await? {
            return Err(Failure::Fenced);
        }
        // Rows of instances are locked before those of vehicles.
        call_rolls(&transaction, clock, number.life, batch).await?;
    }
    known.check(&transaction).await?;
    // What shows only that this life goes on tells nobody anything.
    if !batch.is_empty() {
        known.endpoints.check(&transaction).await?;
    }
    let rows = read_vehicles(&transaction, known, batch).await?;
    let commands = read_commands(&transaction, batch).await?;
    let wanted = known.endpoints.wanted();
    let fold = Fold::new(number.life, clock.now(), rows, commands, wanted);
    let (rows, effects) = write(&transaction, known, fold, batch).await?;
    Ok((transaction, rows, effects))
}

async fn call_rolls(
    db: &DatabaseTransaction,
    clock: &Clock,
    life: Uuid,
    batch: &mut [Queued],
) -> Result<(), DbErr> {
    for queued in batch {
        if let Intent::Membership {
            stalled,
            buried,
            reply,
        } = &mut queued.intent
        {
            reply.set(Ok(roll_call(db, life, stalled, buried).await?));
            clock.set_by(db).await?;
        }
    }
    Ok(())
}

async fn write(
    db: &DatabaseTransaction,
    known: &mut KnownRows,
    mut fold: Fold,
    batch: &mut [Queued],
) -> Result<(HashMap<DeviceId, Row>, Effects), DbErr> {
    for queued in batch.iter_mut().filter(|queued| !queued.deferred) {
        fold.apply(&mut queued.intent);
    }
    let ended: Vec<Command> = fold.commands.ended().collect();
    fold.tell_of_ended(&ended);
    let Fold {
        rows,
        reports,
        blobs,
        commands,
        evictions,
        mut events,
        deleted,
        now,
        ..
    } = fold;
    let texts = &mut known.texts;
    write_vehicles(db, texts, &rows).await?;
    write_reports(db, texts, &reports).await?;
    write_blobs(db, blobs, &mut events).await?;
    write_commands(db, texts, &commands).await?;
    for queued in &mut *batch {
        if let Intent::Purge { step, reply } = &mut queued.intent {
            reply.set(Ok(purge::step(db, texts, step).await?));
        }
    }
    let happened = Happened {
        events: events.into_iter().flatten().collect(),
        deleted,
        now,
    };
    let webhooks = webhooks::write(db, texts, &known.endpoints, &happened, batch).await?;
    if webhooks.endpoints_changed {
        known.endpoints.clear();
    }
    let effects = Effects {
        ended,
        evictions,
        webhooks,
    };
    Ok((rows, effects))
}

async fn write_vehicles(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    rows: &HashMap<DeviceId, Row>,
) -> Result<(), DbErr> {
    let (mut new, mut telemetry, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for row in rows.values() {
        match (row.change, &row.model) {
            (Change::None, _) | (_, None) => {}
            (_, Some(model)) if row.is_new => new.push(model),
            (Change::Telemetry, Some(model)) => telemetry.push(model),
            (Change::All, Some(model)) => all.push(model),
        }
    }
    for models in [&mut new, &mut telemetry, &mut all] {
        models.sort_unstable_by_key(|model| &model.device_id);
    }
    let every_column: Vec<vehicle::Column> = vehicle::Column::iter().collect();
    // Never over a row that was not read: another instance may have made it meanwhile.
    insert::<vehicle::Entity, _, _>(db, texts, &new, &every_column, |model| {
        every_column.iter().map(|column| value(model, *column))
    })
    .await?;
    for (models, columns) in [(telemetry, &TELEMETRY[..]), (all, &every_column)] {
        upsert::<vehicle::Entity, _, _>(db, texts, &models, columns, 1, |model| {
            columns.iter().map(|column| value(model, *column))
        })
        .await?;
    }
    Ok(())
}

/// The key first, then what reports and heartbeats change.
const TELEMETRY: [vehicle::Column; 8] = [
    vehicle::Column::DeviceId,
    vehicle::Column::Latitude,
    vehicle::Column::Longitude,
    vehicle::Column::Battery,
    vehicle::Column::Running,
    vehicle::Column::ReportedAt,
    vehicle::Column::LastHeartbeat,
    vehicle::Column::UpdatedAt,
];

async fn write_reports(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    reports: &[NewReport],
) -> Result<(), DbErr> {
    const COLUMNS: [report::Column; 6] = [
        report::Column::DeviceId,
        report::Column::ReceivedAt,
        report::Column::Latitude,
        report::Column::Longitude,
        report::Column::Battery,
        report::Column::Running,
    ];
    insert::<report::Entity, _, _>(db, texts, reports, &COLUMNS, |report| -> [Value; 6] {
        let state = &report.state;
        [
            report.device_id.as_str().into(),
            report.received_at.into(),
            state.latitude.to_f64().into(),
            state.longitude.to_f64().into(),
            i16::from(state.battery.percent()).into(),
            state.running.is_running().into(),
        ]
    })
    .await
}

fn value(model: &vehicle::Model, column: vehicle::Column) -> Value {
    use vehicle::Column as C;
    match column {
        C::DeviceId => model.device_id.as_str().into(),
        C::Online => model.online.into(),
        C::SessionEpoch => model.session_epoch.into(),
        C::InstanceId => model.instance_id.as_deref().into(),
        C::ConnectedAt => model.connected_at.into(),
        C::DisconnectedAt => model.disconnected_at.into(),
        C::DisconnectReason => model.disconnect_reason.as_deref().into(),
        C::OfflineDue => model.offline_due.into(),
        C::RemoteAddr => model.remote_addr.as_deref().into(),
        C::Latitude => model.latitude.into(),
        C::Longitude => model.longitude.into(),
        C::Battery => model.battery.into(),
        C::Running => model.running.into(),
        C::ReportedAt => model.reported_at.into(),
        C::LastHeartbeat => model.last_heartbeat.into(),
        C::UpdateFrequency => model.update_frequency.into(),
        C::AcknowledgedUpdateFrequency => model.acknowledged_update_frequency.into(),
        C::CreatedAt => model.created_at.into(),
        C::UpdatedAt => model.updated_at.into(),
        C::DeletedAt => model.deleted_at.into(),
        C::ForgetThrough => model.forget_through.into(),
    }
}

// One statement a blob: they are few and may be large.
async fn write_blobs(
    db: &DatabaseTransaction,
    blobs: Vec<NewBlob>,
    events: &mut [Option<Event>],
) -> Result<(), DbErr> {
    for blob in blobs {
        let row = debug_blob::ActiveModel {
            device_id: Set(blob.device_id.as_str().to_owned()),
            received_at: Set(blob.received_at),
            size: Set(i64::try_from(blob.content.len()).unwrap_or(i64::MAX)),
            content: Set(blob.content.into()),
            ..Default::default()
        };
        let insert = debug_blob::Entity::insert(row);
        let event = blob.event.and_then(|place| events.get_mut(place)?.as_mut());
        let Some(event) = event else {
            insert.exec_without_returning(db).await?;
            continue;
        };
        let inserted = insert.exec(db).await?.last_insert_id;
        if let VehicleChange::DebugBlob { id, .. } = &mut event.change {
            *id = inserted;
        }
    }
    Ok(())
}

async fn write_commands(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    commands: &Commands,
) -> Result<(), DbErr> {
    use command::Column as C;
    use idempotency_key::Column as K;
    // The key first.
    const COLUMNS: [C; 11] = [
        C::Id,
        C::DeviceId,
        C::Message,
        C::Origin,
        C::State,
        C::CreatedAt,
        C::ExpiresAt,
        C::SentAt,
        C::FinishedAt,
        C::Reply,
        C::LateReply,
    ];
    const KEY_COLUMNS: [K; 5] = [K::DeviceId, K::Key, K::CommandId, K::Request, K::CreatedAt];
    let mut changed: Vec<&Command> = commands.changed().collect();
    changed.sort_unstable_by_key(|command| command.id);
    upsert::<command::Entity, _, _>(db, texts, &changed, &COLUMNS, 1, |command| -> [Value; 11] {
        [
            command.id.to_string().into(),
            command.device_id.as_str().into(),
            command.action.to_string().into(),
            command.origin.as_str().into(),
            command.state.as_str().into(),
            command.created_at.as_millis().into(),
            command.expires_at.as_millis().into(),
            command.sent_at.map(Timestamp::as_millis).into(),
            command.finished_at.map(Timestamp::as_millis).into(),
            command.reply.as_deref().into(),
            command.late_reply.as_deref().into(),
        ]
    })
    .await?;
    let keys = &commands.new_keys;
    upsert::<idempotency_key::Entity, _, _>(db, texts, keys, &KEY_COLUMNS, 2, |key| -> [Value; 5] {
        [
            key.device_id.as_str().into(),
            key.key.as_str().into(),
            key.command_id.as_str().into(),
            key.request.as_str().into(),
            key.created_at.into(),
        ]
    })
    .await
}
