//! The table `api_keys`: keys of the API, without their secrets.

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, sea_query::Expr,
};

use crate::{
    access::{ApiKey, KeyId},
    domain::Timestamp,
    store::{
        Store, StoreError,
        database::Transaction,
        entities::api_key::{ActiveModel, Column, Entity, Model},
    },
};

/// The highest number of keys that are usable: each instance keeps all in memory.
const MAX_KEYS: u64 = 1_000;
/// The number of rows from which on those of keys that have ended make room for new ones.
const MAX_ROWS: u64 = 2_000;

impl Store {
    /// Returns all keys, oldest first. One whose row is corrupt is left out, so that it does not block the others.
    pub async fn api_keys(&self) -> Result<Vec<ApiKey>, StoreError> {
        let rows = Entity::find()
            .order_by_asc(Column::CreatedAt)
            .order_by_asc(Column::Id)
            .all(&self.reader)
            .await?;
        Ok(rows.into_iter().filter_map(readable).collect())
    }

    /// Returns a key; `None` if there is none with this id.
    pub async fn api_key(&self, id: &KeyId) -> Result<Option<ApiKey>, StoreError> {
        let row = Entity::find_by_id(id.as_str()).one(&self.reader).await?;
        row.map(ApiKey::try_from).transpose()
    }
}

fn readable(row: Model) -> Option<ApiKey> {
    let id = row.id.clone();
    ApiKey::try_from(row)
        .inspect_err(|error| tracing::error!(%id, %error, "key ignored: its row is corrupt"))
        .ok()
}

/// Whether a key has ended before this time, in milliseconds since 1970.
fn has_ended(before: i64) -> Condition {
    Condition::any()
        .add(Column::RevokedAt.lt(before))
        .add(Column::ExpiresAt.lt(before))
}

/// Inserts a key. False if [`MAX_KEYS`] are usable already. Of more than [`MAX_ROWS`] the oldest that have ended make room.
pub(in crate::store) async fn insert(
    db: &Transaction,
    key: &ApiKey,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let all = Entity::find().count(db).await?;
    let ended = has_ended(now.as_millis());
    let ended_rows = Entity::find().filter(ended.clone()).count(db).await?;
    if all - ended_rows >= MAX_KEYS {
        return Ok(false);
    }
    if all >= MAX_ROWS {
        let oldest: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(ended)
            .order_by_asc(Column::CreatedAt)
            .limit(1 + all - MAX_ROWS)
            .into_tuple()
            .all(db)
            .await?;
        let oldest = Column::Id.is_in(oldest);
        Entity::delete_many().filter(oldest).exec(db).await?;
    }
    Entity::insert(ActiveModel::from(key))
        .exec_without_returning(db)
        .await?;
    Ok(true)
}

/// Deletes the keys that ended before `before`, in milliseconds since 1970; returns how many.
pub(in crate::store) async fn purge_ended(db: &Transaction, before: i64) -> Result<u64, DbErr> {
    let deleted = Entity::delete_many()
        .filter(has_ended(before))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}

/// Changes the hashes of a key, or revokes it, and returns it; `None` if there is none with this id. `change` says whether
/// it has changed anything. Its other columns stay: a newer version may have scopes that this one does not know.
pub(in crate::store) async fn change(
    db: &Transaction,
    id: &KeyId,
    change: impl FnOnce(&mut ApiKey) -> bool + Send,
) -> Result<Option<ApiKey>, DbErr> {
    let row = Entity::find_by_id(id.as_str())
        .lock_exclusive()
        .one(db)
        .await?;
    let Some(row) = row else {
        return Ok(None);
    };
    let mut key = ApiKey::try_from(row).map_err(|error| DbErr::Type(error.to_string()))?;
    if change(&mut key) {
        let ActiveModel {
            hash,
            previous_hash,
            previous_until,
            revoked_at,
            ..
        } = ActiveModel::from(&key);
        let changed = ActiveModel {
            hash,
            previous_hash,
            previous_until,
            revoked_at,
            ..Default::default()
        };
        Entity::update_many()
            .set(changed)
            .filter(Column::Id.eq(id.as_str()))
            .exec(db)
            .await?;
    }
    Ok(Some(key))
}

/// Notes when keys were used, unless a later use is noted already.
pub(in crate::store) async fn note_uses(
    db: &Transaction,
    uses: &[(KeyId, Timestamp)],
) -> Result<(), DbErr> {
    for (id, at) in uses {
        let earlier = Condition::any()
            .add(Column::LastUsedAt.is_null())
            .add(Column::LastUsedAt.lt(at.as_millis()));
        Entity::update_many()
            .col_expr(Column::LastUsedAt, Expr::value(at.as_millis()))
            .filter(Column::Id.eq(id.as_str()))
            .filter(earlier)
            .exec(db)
            .await?;
    }
    Ok(())
}
