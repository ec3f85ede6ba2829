//! The table `api_keys`: keys of the API, without their secrets.

use std::time::Duration;

use sea_orm::{
    ActiveModelTrait, ColumnTrait, Condition, DbErr, EntityTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};

use crate::{
    access::{ApiKey, KeyHash, KeyId},
    domain::Timestamp,
    store::{
        Store, StoreError,
        database::Transaction,
        entities::api_key::{ActiveModel, Column, Entity, Model},
    },
};

/// The highest number of keys, ended ones included: each instance keeps all in memory.
const MAX_KEYS: u64 = 1_000;
/// How long a key that was revoked or has expired is kept, so that people see what became of it.
const KEPT_ENDED: Duration = Duration::from_hours(30 * 24);

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

/// Inserts a key, and deletes those that ended [`KEPT_ENDED`] ago. False if there are [`MAX_KEYS`] already.
pub(in crate::store) async fn insert(
    db: &Transaction,
    key: &ApiKey,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let before = now.before(KEPT_ENDED).as_millis();
    let ended = Condition::any()
        .add(Column::RevokedAt.lt(before))
        .add(Column::ExpiresAt.lt(before));
    Entity::delete_many().filter(ended).exec(db).await?;
    if Entity::find().count(db).await? >= MAX_KEYS {
        return Ok(false);
    }
    Entity::insert(ActiveModel::from(key))
        .exec_without_returning(db)
        .await?;
    Ok(true)
}

/// Changes a key and returns it; `None` if there is none with this id. `change` says whether it has changed anything.
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
        ActiveModel::from(&key).reset_all().update(db).await?;
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

/// Makes this the hash of a key; the one before is accepted for `overlap` as well. False if the key has ended.
pub(in crate::store) fn rotate(
    key: &mut ApiKey,
    hash: KeyHash,
    overlap: Duration,
    now: Timestamp,
) -> bool {
    if !key.is_usable(now) {
        return false;
    }
    let previous = (!overlap.is_zero()).then(|| (key.hash, now.after(overlap)));
    key.previous = previous;
    key.hash = hash;
    true
}
