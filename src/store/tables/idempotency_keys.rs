//! The table `idempotency_keys`: the commands that callers' keys stand for.

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, sea_query::Value,
};

use super::purge::ROWS_PER_STEP;
use crate::{
    domain::DeviceId,
    state::StoredKey,
    store::{
        database::Transaction,
        entities::idempotency_key::{Column, Entity},
        statements::{Texts, upsert},
    },
};

/// Reads the key of a vehicle, if it is there and readable.
pub(in crate::store) async fn read(
    db: &Transaction,
    device_id: &DeviceId,
    key: &str,
) -> Result<Option<StoredKey>, DbErr> {
    let id = (device_id.as_str().to_owned(), key.to_owned());
    let row = Entity::find_by_id(id).one(db).await?;
    let stored = row.map(StoredKey::try_from).transpose();
    Ok(stored.unwrap_or_else(|error| {
        tracing::error!(%device_id, key, %error, "ignored an idempotency key whose row is corrupt");
        None
    }))
}

/// Writes the keys that a batch adds.
pub(in crate::store) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    keys: &[StoredKey],
) -> Result<(), DbErr> {
    // The two of the primary key first.
    const COLUMNS: [Column; 5] = [
        Column::DeviceId,
        Column::Key,
        Column::CommandId,
        Column::Request,
        Column::CreatedAt,
    ];
    upsert::<Entity, _, _>(db, texts, keys, &COLUMNS, 2, |key| -> [Value; 5] {
        [
            key.device_id.as_str().into(),
            key.key.as_str().into(),
            key.command_id.to_string().into(),
            key.request.as_str().into(),
            key.created_at.as_millis().into(),
        ]
    })
    .await
}

/// Deletes some keys that were stored before `before`, in milliseconds since 1970. Returns how many, 0 if there are no
/// more.
pub(in crate::store) async fn purge_before(db: &Transaction, before: i64) -> Result<u64, DbErr> {
    // Times are nearly unique, so about `ROWS_PER_STEP` rows are older than the time at that offset.
    let cut: Option<i64> = Entity::find()
        .select_only()
        .column(Column::CreatedAt)
        .filter(Column::CreatedAt.lt(before))
        .order_by_asc(Column::CreatedAt)
        .offset(ROWS_PER_STEP)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    let old = Column::CreatedAt.lt(cut.unwrap_or(before));
    let deleted = Entity::delete_many().filter(old).exec(db).await?;
    Ok(deleted.rows_affected)
}

/// Deletes all keys of a deleted vehicle that were stored up to `through`, in milliseconds since 1970; returns how
/// many. One vehicle has few: they live for a day.
pub(in crate::store) async fn purge_deleted(
    db: &Transaction,
    device_id: &str,
    through: i64,
) -> Result<u64, DbErr> {
    let deleted = Entity::delete_many()
        .filter(Column::DeviceId.eq(device_id))
        .filter(Column::CreatedAt.lte(through))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}
