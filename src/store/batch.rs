//! One batch, one transaction: read the rows, fold the intents, write each row once.
//!
//! Cost: one SELECT for each 512 vehicles that the last batches did not touch, one INSERT for each 64
//! to 256 changed rows of a table (in powers of two, so that a handful of prepared statements serves
//! every size), one commit with its fsync.

use std::collections::{BTreeSet, HashMap};

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    EntityTrait, QueryFilter, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait,
    sea_query::{InsertStatement, IntoIden, OnConflict, Query, Value},
};

use super::{
    entities::{debug_blob, report, vehicle},
    fold::{Change, Fold, NewBlob, NewReport, Row},
    intent::{Intent, Queued},
    purge,
};
use crate::domain::DeviceId;

/// Values a statement writes at most: a prepared statement takes memory for each.
const VALUES_PER_INSERT: usize = 2_048;
/// Keys a SELECT asks for at most.
const KEYS_PER_SELECT: usize = 512;

/// Vehicles' rows as the last commit left them, so that a batch need not read what the one before it
/// wrote. For a database that this process alone writes; should somebody else write to the file all
/// the same, the rows are read again.
#[derive(Debug, Default)]
pub(super) struct KnownRows {
    rows: HashMap<DeviceId, vehicle::Model>,
    /// What `PRAGMA data_version` said: another value means that another connection wrote.
    data_version: Option<i64>,
    texts: Texts,
}

impl KnownRows {
    /// About 6 MiB. More vehicles than this that report within one commit's time are more than the
    /// database takes anyway.
    const MOST: usize = 8_192;

    /// Forgets everything: after an error, nobody knows what is committed.
    pub(super) fn clear(&mut self) {
        self.rows.clear();
        self.data_version = None;
    }

    async fn check(&mut self, db: &DatabaseTransaction) -> Result<(), DbErr> {
        let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
        let row = db.query_one_raw(statement).await?;
        let version = row.map(|row| row.try_get_by_index(0)).transpose()?;
        if self.data_version != version || self.rows.len() > Self::MOST {
            self.rows.clear();
            self.data_version = version;
        }
        Ok(())
    }

    fn keep(&mut self, rows: HashMap<DeviceId, Row>) {
        let known = rows
            .into_iter()
            .filter_map(|(id, row)| Some((id, row.model?)));
        self.rows.extend(known);
    }
}

/// Applies `batch` and commits. On any error nothing of it is stored, it may be applied again, and
/// neither `db` nor `known` must be used again.
pub(super) async fn apply(
    db: &DatabaseConnection,
    known: &mut KnownRows,
    instance_id: &str,
    batch: &mut [Queued],
) -> Result<(), DbErr> {
    let transaction = db
        .begin_with_options(TransactionOptions {
            // A deferred transaction that reads first fails at once when it comes to write.
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        })
        .await?;
    known.check(&transaction).await?;
    let rows = read_rows(&transaction, known, batch).await?;
    let rows = write(&transaction, &mut known.texts, instance_id, rows, batch).await?;
    // On an error the caller throws the connection away, and the transaction with it.
    transaction.commit().await?;
    known.keep(rows);
    Ok(())
}

async fn write(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    instance_id: &str,
    rows: HashMap<DeviceId, Row>,
    batch: &mut [Queued],
) -> Result<HashMap<DeviceId, Row>, DbErr> {
    let mut fold = Fold::new(instance_id, rows);
    for queued in batch.iter_mut() {
        fold.apply(&mut queued.intent);
    }
    let Fold {
        rows,
        reports,
        blobs,
        ..
    } = fold;
    write_vehicles(db, texts, &rows).await?;
    write_reports(db, texts, &reports).await?;
    write_blobs(db, blobs).await?;
    for queued in batch {
        if let Intent::Purge { step, reply } = &mut queued.intent {
            reply.set(Ok(purge::step(db, step).await?));
        }
    }
    Ok(rows)
}

async fn read_rows(
    db: &DatabaseTransaction,
    known: &mut KnownRows,
    batch: &[Queued],
) -> Result<HashMap<DeviceId, Row>, DbErr> {
    let mut rows = HashMap::with_capacity(batch.len());
    // In the order of the key, which is the order in which rows are locked everywhere.
    let mut unknown = BTreeSet::new();
    for id in batch.iter().flat_map(|queued| queued.intent.devices()) {
        match known.rows.remove(id) {
            Some(model) => {
                rows.insert(id.clone(), Row::read(Some(model)));
            }
            None if rows.contains_key(id) => {}
            None => {
                unknown.insert(id);
            }
        }
    }
    let unknown: Vec<&DeviceId> = unknown.into_iter().collect();
    for chunk in unknown.chunks(KEYS_PER_SELECT) {
        // Repeats of the last key fill up to a power of two: few statements, prepared once.
        let padded = chunk.len().next_power_of_two();
        let keys = chunk
            .iter()
            .chain(std::iter::repeat_n(
                &chunk[chunk.len() - 1],
                padded - chunk.len(),
            ))
            .map(|id| id.as_str());
        let found = vehicle::Entity::find()
            .filter(vehicle::Column::DeviceId.is_in(keys))
            .all(db)
            .await?;
        let mut found: HashMap<String, vehicle::Model> = found
            .into_iter()
            .map(|model| (model.device_id.clone(), model))
            .collect();
        for id in chunk {
            rows.insert((*id).clone(), Row::read(found.remove(id.as_str())));
        }
    }
    Ok(rows)
}

/// Cuts rows of so many columns into runs of powers of two, largest first.
fn runs<T>(mut rows: &[T], columns: usize) -> impl Iterator<Item = &[T]> {
    let most = 1 << (VALUES_PER_INSERT / columns).ilog2();
    std::iter::from_fn(move || {
        let largest = rows.len().checked_ilog2().map(|log| 1 << log)?;
        let (run, rest) = rows.split_at(most.min(largest));
        rows = rest;
        Some(run)
    })
}

async fn write_vehicles(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    rows: &HashMap<DeviceId, Row>,
) -> Result<(), DbErr> {
    let mut telemetry = Vec::new();
    let mut all = Vec::new();
    for row in rows.values() {
        match (row.change, &row.model) {
            (Change::Telemetry, Some(model)) => telemetry.push(model),
            (Change::All, Some(model)) => all.push(model),
            _ => {}
        }
    }
    for models in [&mut telemetry, &mut all] {
        models.sort_unstable_by_key(|model| &model.device_id);
    }
    upsert(db, texts, &telemetry, &TELEMETRY).await?;
    let every_column: Vec<vehicle::Column> =
        <vehicle::Column as sea_orm::Iterable>::iter().collect();
    upsert(db, texts, &all, &every_column).await
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

async fn upsert(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    models: &[&vehicle::Model],
    columns: &[vehicle::Column],
) -> Result<(), DbErr> {
    for run in runs(models, columns.len()) {
        let text = texts.get((columns.len(), run.len()), || {
            let mut insert = insert_into::<vehicle::Entity>(columns, run.len());
            insert.on_conflict(
                OnConflict::column(vehicle::Column::DeviceId)
                    .update_columns(columns.iter().skip(1).map(|column| column.into_iden()))
                    .to_owned(),
            );
            insert
        });
        let values = run
            .iter()
            .flat_map(|model| columns.iter().map(|column| value(model, *column)))
            .collect();
        execute(db, text, values).await?;
    }
    Ok(())
}

/// The texts of statements by number of columns and rows: building one costs more than running it.
#[derive(Debug, Default)]
struct Texts(HashMap<(usize, usize), String>);

impl Texts {
    fn get(&mut self, shape: (usize, usize), build: impl FnOnce() -> InsertStatement) -> &str {
        self.0
            .entry(shape)
            .or_insert_with(|| DbBackend::Sqlite.build(&build()).sql)
    }
}

/// An INSERT of `rows` rows, with places for their values.
fn insert_into<E: EntityTrait>(columns: &[E::Column], rows: usize) -> InsertStatement {
    let mut insert = Query::insert();
    insert
        .into_table(E::default())
        .columns(columns.iter().copied());
    for _ in 0..rows {
        insert.values_panic(columns.iter().map(|_| Value::BigInt(None).into()));
    }
    insert
}

async fn execute(db: &DatabaseTransaction, text: &str, values: Vec<Value>) -> Result<(), DbErr> {
    db.execute_raw(Statement::from_sql_and_values(
        DbBackend::Sqlite,
        text,
        values,
    ))
    .await?;
    Ok(())
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
    for run in runs(reports, COLUMNS.len()) {
        let text = texts.get((COLUMNS.len(), run.len()), || {
            insert_into::<report::Entity>(&COLUMNS, run.len())
        });
        let values = run.iter().flat_map(|report| -> [Value; 6] {
            let state = &report.state;
            [
                report.device_id.as_str().into(),
                report.received_at.into(),
                state.latitude.to_f64().into(),
                state.longitude.to_f64().into(),
                i16::from(state.battery.percent()).into(),
                state.running.is_running().into(),
            ]
        });
        execute(db, text, values.collect()).await?;
    }
    Ok(())
}

// One statement a blob: they are few and may be large.
async fn write_blobs(db: &DatabaseTransaction, blobs: Vec<NewBlob>) -> Result<(), DbErr> {
    for blob in blobs {
        let row = debug_blob::ActiveModel {
            device_id: Set(blob.device_id.as_str().to_owned()),
            received_at: Set(blob.received_at),
            size: Set(i64::try_from(blob.content.len()).unwrap_or(i64::MAX)),
            content: Set(blob.content.into()),
            ..Default::default()
        };
        debug_blob::Entity::insert(row)
            .exec_without_returning(db)
            .await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_powers_of_two_in_order_and_leave_nothing_out() {
        for length in [0_usize, 1, 2, 3, 7, 255, 256, 257, 1000] {
            for columns in [1, 6, 8, 21] {
                let rows: Vec<usize> = (0..length).collect();
                let runs: Vec<&[usize]> = runs(&rows, columns).collect();
                assert!(runs.iter().all(|run| run.len().is_power_of_two()));
                assert!(
                    runs.iter()
                        .all(|run| run.len() * columns <= VALUES_PER_INSERT)
                );
                assert_eq!(runs.concat(), rows);
            }
        }
    }
}
