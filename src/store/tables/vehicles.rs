//! The table `vehicles`: one row for each vehicle, also for one that was deleted.

use std::collections::{BTreeSet, HashMap, HashSet};

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbErr, EntityTrait, Iterable, QueryFilter, QueryOrder,
    QuerySelect,
    sea_query::{LockBehavior, LockType},
};

use super::KEYS_PER_SELECT;
use crate::{
    domain::{CommandState, DeviceId, IncarnationId, SessionKey, Timestamp, Vehicle},
    state::{ChangedColumns, LONGEST_GRACE, VehicleEntry, VehicleRecord},
    store::{
        Store, StoreError,
        database::Transaction,
        entities::{
            command,
            vehicle::{Column, Entity, Model, column_value, parse_device_id},
        },
        statements::{Texts, insert, padded, upsert},
    },
};

/// Vehicles read for a batch.
#[derive(Debug, Default)]
pub(in crate::store) struct ReadVehicles {
    pub(in crate::store) entries: HashMap<DeviceId, VehicleEntry>,
    /// Vehicles that have a row which another instance has locked at the moment. `entries` lacks their records.
    pub(in crate::store) locked: HashSet<String>,
}

/// Reads vehicles for a batch. On a server they are locked, all but those that another instance has locked.
pub(in crate::store) async fn lock_and_read(
    db: &Transaction,
    ids: BTreeSet<&DeviceId>,
    is_shared: bool,
) -> Result<ReadVehicles, DbErr> {
    let mut read = ReadVehicles::default();
    // In the order of the key, which is the order in which rows are locked everywhere.
    let ids: Vec<&DeviceId> = ids.into_iter().collect();
    for chunk in ids.chunks(KEYS_PER_SELECT) {
        let rows = Entity::find()
            .filter(Column::DeviceId.is_in(padded(chunk).map(DeviceId::as_str)))
            .order_by_asc(Column::DeviceId)
            // Does nothing on SQLite, where this transaction is alone.
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(db)
            .await?;
        let mut rows: HashMap<String, Model> = rows
            .into_iter()
            .map(|row| (row.device_id.clone(), row))
            .collect();
        let mut missing = Vec::new();
        for id in chunk.iter().copied() {
            let row = rows.remove(id.as_str());
            if row.is_none() {
                missing.push(id);
            }
            let record = row.map(|row| record(row, id));
            read.entries.insert(id.clone(), VehicleEntry::read(record));
        }
        if is_shared && !missing.is_empty() {
            read.locked.extend(existing_among(db, &missing).await?);
        }
    }
    Ok(read)
}

fn record(row: Model, device_id: &DeviceId) -> VehicleRecord {
    row.into_record(device_id.clone(), |column| {
        tracing::error!(%device_id, column, "a column of a vehicle's row is corrupt; it counts as unknown");
    })
}

/// Which of these exist, locked or not.
async fn existing_among(db: &Transaction, ids: &[&DeviceId]) -> Result<Vec<String>, DbErr> {
    Entity::find()
        .select_only()
        .column(Column::DeviceId)
        .filter(Column::DeviceId.is_in(padded(ids).map(DeviceId::as_str)))
        .into_tuple()
        .all(db)
        .await
}

/// Writes the vehicles that a batch changed.
pub(in crate::store) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    vehicles: &HashMap<DeviceId, VehicleEntry>,
) -> Result<(), DbErr> {
    let (mut new, mut telemetry, mut all) = (Vec::new(), Vec::new(), Vec::new());
    for entry in vehicles.values() {
        match (entry.changed, &entry.record) {
            (ChangedColumns::None, _) | (_, None) => {}
            (_, Some(record)) if entry.is_new => new.push(record),
            (ChangedColumns::Telemetry, Some(record)) => telemetry.push(record),
            (ChangedColumns::All, Some(record)) => all.push(record),
        }
    }
    for records in [&mut new, &mut telemetry, &mut all] {
        records.sort_unstable_by_key(|record| &record.vehicle.device_id);
    }
    let every_column: Vec<Column> = Column::iter().collect();
    // A plain INSERT, which fails on a row that was not read: another instance may have made it meanwhile.
    insert::<Entity, _, _>(db, texts, &new, &every_column, |record| {
        every_column
            .iter()
            .map(|column| column_value(record, *column))
    })
    .await?;
    for (records, columns) in [(telemetry, &TELEMETRY[..]), (all, &every_column)] {
        upsert::<Entity, _, _>(db, texts, &records, columns, 1, |record| {
            columns.iter().map(|column| column_value(record, *column))
        })
        .await?;
    }
    Ok(())
}

/// The key first, then the columns that reports and heartbeats change.
const TELEMETRY: [Column; 8] = [
    Column::DeviceId,
    Column::Latitude,
    Column::Longitude,
    Column::Battery,
    Column::Running,
    Column::ReportedAt,
    Column::LastHeartbeat,
    Column::UpdatedAt,
];

/// The row of a vehicle, unless it was never heard of or is deleted.
pub(super) async fn existing(
    reader: &impl ConnectionTrait,
    device_id: &DeviceId,
) -> Result<Option<Model>, DbErr> {
    Entity::find_by_id(device_id.as_str())
        .filter(Column::DeletedAt.is_null())
        .one(reader)
        .await
}

impl Store {
    /// A vehicle, unless it was never heard of or is deleted.
    pub async fn vehicle(&self, device_id: &DeviceId) -> Result<Option<Vehicle>, StoreError> {
        let row = existing(&self.reader, device_id).await?;
        row.map(Vehicle::try_from).transpose()
    }

    /// At most `limit` vehicles in the order of their ids, after the id `after`; all, or only those that are or are not
    /// `online`.
    pub async fn vehicles(
        &self,
        online: Option<bool>,
        after: Option<&str>,
        limit: u64,
    ) -> Result<Vec<Vehicle>, StoreError> {
        let mut query = Entity::find().filter(Column::DeletedAt.is_null());
        if let Some(online) = online {
            query = query.filter(Column::Online.eq(online));
        }
        if let Some(after) = after {
            query = query.filter(Column::DeviceId.gt(after));
        }
        let rows = query
            .order_by_asc(Column::DeviceId)
            .limit(limit)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(Vehicle::try_from).collect()
    }

    /// Vehicles that an earlier process left online or with a command under way, in the order of their ids.
    pub async fn abandoned_vehicles(&self) -> Result<Vec<DeviceId>, StoreError> {
        use command::Column as C;
        let online = Entity::find()
            .select_only()
            .column(Column::DeviceId)
            .filter(Column::Online.eq(true))
            .into_tuple::<String>();
        let busy = command::Entity::find()
            .select_only()
            .column(C::DeviceId)
            .filter(C::FinishedAt.is_null())
            .filter(C::State.ne(CommandState::Queued.as_str()))
            .into_tuple();
        let mut ids: BTreeSet<String> = online.all(&self.reader).await?.into_iter().collect();
        ids.extend(busy.all(&self.reader).await?);
        ids.iter().map(|id| parse_device_id(id)).collect()
    }

    /// Sessions that an incarnation holds, in the order of their vehicles' ids, after the vehicle `after`.
    pub async fn sessions_held_by(
        &self,
        incarnation: IncarnationId,
        after: Option<&DeviceId>,
        limit: u64,
    ) -> Result<Vec<SessionKey>, StoreError> {
        let after = after.map(|after| Column::DeviceId.gt(after.as_str()));
        let rows: Vec<(String, i64)> = Entity::find()
            .select_only()
            .columns([Column::DeviceId, Column::SessionEpoch])
            .filter(Column::InstanceId.eq(incarnation.to_string()))
            .filter(Condition::all().add_option(after))
            .order_by_asc(Column::DeviceId)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await?;
        rows.into_iter()
            .map(|(id, epoch)| {
                let device_id = parse_device_id(&id)?;
                Ok(SessionKey { device_id, epoch })
            })
            .collect()
    }

    /// Vehicles whose grace is over at `at`, the longest ago first, and vehicles whose grace would last longer than any
    /// grace does.
    pub async fn expired_graces(
        &self,
        at: Timestamp,
        limit: u64,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let furthest = at.furthest_ahead(LONGEST_GRACE);
        // Two statements, since not every planner reads two ranges of an index for one.
        let ranges = [
            Column::OfflineDue.lte(at.as_millis()),
            Column::OfflineDue.gt(furthest.as_millis()),
        ];
        let mut ids: Vec<String> = Vec::new();
        for range in ranges {
            let found = Entity::find()
                .select_only()
                .column(Column::DeviceId)
                .filter(range)
                .order_by_asc(Column::OfflineDue)
                .limit(limit.saturating_sub(ids.len() as u64))
                .into_tuple();
            ids.extend(found.all(&self.reader).await?);
        }
        ids.iter().map(|id| parse_device_id(id)).collect()
    }

    /// Vehicles that have changed at `since` or later, in the order of their ids, after the vehicle `after`.
    pub async fn vehicles_changed_since(
        &self,
        since: Timestamp,
        after: Option<&DeviceId>,
        limit: u64,
    ) -> Result<Vec<DeviceId>, StoreError> {
        let after = after.map(|after| Column::DeviceId.gt(after.as_str()));
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::DeviceId)
            .filter(Column::UpdatedAt.gte(since.as_millis()))
            .filter(Column::DeletedAt.is_null())
            .filter(Condition::all().add_option(after))
            .order_by_asc(Column::DeviceId)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await?;
        ids.iter().map(|id| parse_device_id(id)).collect()
    }

    /// Vehicles that were deleted and whose history is not purged yet, with the time up to which it is to be purged.
    pub async fn histories_to_purge(
        &self,
        limit: u64,
    ) -> Result<Vec<(DeviceId, Timestamp)>, StoreError> {
        let marks: Vec<(String, i64)> = Entity::find()
            .select_only()
            .columns([Column::DeviceId, Column::ForgetThrough])
            .filter(Column::ForgetThrough.is_not_null())
            .order_by_asc(Column::ForgetThrough)
            .limit(limit)
            .into_tuple()
            .all(&self.reader)
            .await?;
        marks
            .into_iter()
            .map(|(id, through)| Ok((parse_device_id(&id)?, Timestamp::from_millis(through))))
            .collect()
    }
}
