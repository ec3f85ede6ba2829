//! What a batch reads: the rows that its intents are folded on.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::{
    ColumnTrait, ConnectionTrait, DatabaseTransaction, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect, Statement,
    sea_query::{LockBehavior, LockType},
};

use crate::{
    domain::{Command, DeviceId},
    store::{
        entities::{command, idempotency_key, vehicle},
        fold::{Row, commands::Commands},
        intent::{Intent, Queued},
        statements::{Texts, padded},
        webhooks::KnownEndpoints,
    },
};

/// Keys a SELECT asks for at most.
const KEYS_PER_SELECT: usize = 512;

/// Vehicles' rows as the last commit left them, so that a batch need not read what the one before it
/// wrote. For a database that this process alone writes; should somebody else write to the file all
/// the same, the rows are read again.
#[derive(Debug, Default)]
pub(in crate::store) struct KnownRows {
    rows: HashMap<DeviceId, vehicle::Model>,
    /// What `PRAGMA data_version` said: another value means that another connection wrote.
    data_version: Option<i64>,
    /// Others may write to this database at any time: nothing is kept.
    is_shared: bool,
    pub(super) texts: Texts,
    pub(in crate::store) endpoints: KnownEndpoints,
}

impl KnownRows {
    /// About 6 MiB. More vehicles than this that report within one commit's time are more than the
    /// database takes anyway.
    const MOST: usize = 8_192;

    /// Forgets everything: after an error, nobody knows what is committed.
    pub(in crate::store) fn clear(&mut self) {
        self.rows.clear();
        self.data_version = None;
        self.endpoints.clear();
    }

    pub(super) async fn check(&mut self, db: &DatabaseTransaction) -> Result<(), DbErr> {
        self.is_shared = db.get_database_backend() != DbBackend::Sqlite;
        if self.is_shared {
            return Ok(());
        }
        let statement = Statement::from_string(DbBackend::Sqlite, "PRAGMA data_version");
        let row = db.query_one_raw(statement).await?;
        let version = row.map(|row| row.try_get_by_index(0)).transpose()?;
        if self.data_version != version || self.rows.len() > Self::MOST {
            self.rows.clear();
            self.endpoints.clear();
            self.data_version = version;
        }
        Ok(())
    }

    pub(super) fn keep(&mut self, rows: HashMap<DeviceId, Row>) {
        if self.is_shared {
            return;
        }
        let known = rows
            .into_iter()
            .filter_map(|(id, row)| Some((id, row.model?)));
        self.rows.extend(known);
    }
}

/// The vehicles that the batch touches. On a server they are locked; an intent about one that another
/// instance has locked at the moment is marked as deferred, so that nobody else waits for it.
pub(super) async fn read_vehicles(
    db: &DatabaseTransaction,
    known: &mut KnownRows,
    batch: &mut [Queued],
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
    let mut locked = HashSet::new();
    for chunk in unknown.chunks(KEYS_PER_SELECT) {
        let keys = padded(chunk).map(DeviceId::as_str);
        let found = vehicle::Entity::find()
            .filter(vehicle::Column::DeviceId.is_in(keys))
            .order_by_asc(vehicle::Column::DeviceId)
            // Does nothing on SQLite, where this transaction is alone.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(db)
            .await?;
        let mut found: HashMap<String, vehicle::Model> = found
            .into_iter()
            .map(|model| (model.device_id.clone(), model))
            .collect();
        let missing: Vec<&DeviceId> = chunk
            .iter()
            .copied()
            .filter(|id| !found.contains_key(id.as_str()))
            .collect();
        if known.is_shared && !missing.is_empty() {
            locked.extend(existing(db, &missing).await?);
        }
        for id in chunk {
            rows.insert((*id).clone(), Row::read(found.remove(id.as_str())));
        }
    }
    for queued in batch {
        queued.deferred = !locked.is_empty()
            && queued
                .intent
                .devices()
                .any(|id| locked.contains(id.as_str()));
    }
    Ok(rows)
}

/// Which of these exist, whoever has locked them.
async fn existing(db: &DatabaseTransaction, ids: &[&DeviceId]) -> Result<Vec<String>, DbErr> {
    vehicle::Entity::find()
        .select_only()
        .column(vehicle::Column::DeviceId)
        .filter(vehicle::Column::DeviceId.is_in(padded(ids).map(DeviceId::as_str)))
        .into_tuple()
        .all(db)
        .await
}

/// The open commands of vehicles whose sessions or queues change, and those that the batch names. A
/// batch without any of that, as nearly all are, reads nothing.
pub(super) async fn read_commands(
    db: &DatabaseTransaction,
    batch: &[Queued],
) -> Result<Commands, DbErr> {
    use command::Column as C;
    let due = || batch.iter().filter(|queued| !queued.deferred);
    let intents = || due().map(|queued| &queued.intent);
    let mut commands = Commands::default();
    let mut named: BTreeSet<String> = intents()
        .filter_map(|intent| Some(intent.command()?.to_string()))
        .collect();
    for (device_id, key) in intents().filter_map(|intent| intent.key()) {
        let id = (device_id.as_str().to_owned(), key.key.clone());
        if let Some(key) = idempotency_key::Entity::find_by_id(id).one(db).await? {
            named.insert(key.command_id.clone());
            commands.add_key(key);
        }
    }
    let devices: BTreeSet<&str> = intents()
        .flat_map(Intent::devices_of_commands)
        .map(DeviceId::as_str)
        .collect();
    let devices: Vec<&str> = devices.into_iter().collect();
    for chunk in devices.chunks(KEYS_PER_SELECT) {
        let open = command::Entity::find()
            .filter(C::DeviceId.is_in(padded(chunk)))
            .filter(C::FinishedAt.is_null());
        add(&mut commands, open.all(db).await?);
    }
    let named: Vec<String> = named.into_iter().collect();
    for chunk in named.chunks(KEYS_PER_SELECT) {
        let found = command::Entity::find().filter(C::Id.is_in(padded(chunk)));
        add(&mut commands, found.all(db).await?);
    }
    Ok(commands)
}

fn add(commands: &mut Commands, rows: Vec<command::Model>) {
    for row in rows {
        let id = row.id.clone();
        match Command::try_from(row) {
            Ok(command) => commands.add(command),
            // Not of our making. It must not hold up everybody else's writes.
            Err(error) => tracing::error!(%id, %error, "a command is left as it is"),
        }
    }
}
