//! Forgetting: deleting old rows in steps small enough that nobody waits for them.

use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    TryGetableMany, sea_query::Value,
};

use super::{
    entities::{command, debug_blob, idempotency_key, report},
    intent::Purge,
    statements::Texts,
    webhooks,
};

/// Rows a purge step deletes at most, so that reports never wait long for it.
const ROWS_PER_PURGE: u64 = 500;
/// Bytes of blobs a purge step deletes at most: `SQLite` walks each page of them.
const BYTES_PER_PURGE: i64 = 8 << 20;

/// Deletes at most about [`ROWS_PER_PURGE`] rows a table and says how many; 0 means that there are no more.
pub(super) async fn step(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    step: &Purge,
) -> Result<u64, DbErr> {
    match step {
        Purge::Reports(before) => old_reports(db, before.as_millis()).await,
        Purge::DebugBlobs(before) => old_blobs(db, before.as_millis()).await,
        Purge::Commands(before) => old_commands(db, before.as_millis()).await,
        Purge::Keys(before) => old_keys(db, before.as_millis()).await,
        Purge::Messages(before) => {
            webhooks::purge::old_messages(db, texts, before.as_millis()).await
        }
        Purge::DeletedEndpoints => webhooks::purge::deleted_endpoints(db).await,
        Purge::Forgotten(device_id, through) => {
            let messages = webhooks::purge::forgotten(db, device_id.as_str()).await?;
            Ok(messages + forgotten(db, device_id.as_str(), through.as_millis()).await?)
        }
    }
}

/// The rows with the lowest ids. Ids ascend with time, so these are the oldest without an index on the
/// time.
async fn oldest<E: EntityTrait, T: TryGetableMany>(
    db: &DatabaseTransaction,
    id: E::Column,
    columns: &[E::Column],
) -> Result<Vec<T>, DbErr> {
    E::find()
        .select_only()
        .column(id)
        .columns(columns.iter().copied())
        .order_by_asc(id)
        .limit(ROWS_PER_PURGE)
        .into_tuple()
        .all(db)
        .await
}

async fn old_reports(db: &DatabaseTransaction, before: i64) -> Result<u64, DbErr> {
    use report::Column as R;
    let oldest: Vec<(i64, i64)> = oldest::<report::Entity, _>(db, R::Id, &[R::ReceivedAt]).await?;
    let expired = oldest
        .into_iter()
        .filter(|(_, received_at)| *received_at < before)
        .map(|(id, _)| id);
    delete::<report::Entity, _>(db, R::Id, expired.collect()).await
}

async fn old_blobs(db: &DatabaseTransaction, before: i64) -> Result<u64, DbErr> {
    use debug_blob::Column as B;
    let oldest: Vec<(i64, i64, i64)> =
        oldest::<debug_blob::Entity, _>(db, B::Id, &[B::Size, B::ReceivedAt]).await?;
    let expired = oldest
        .into_iter()
        .filter(|(_, _, received_at)| *received_at < before)
        .map(|(id, size, _)| (id, size));
    delete::<debug_blob::Entity, _>(db, B::Id, some_of(expired)).await
}

async fn old_commands(db: &DatabaseTransaction, before: i64) -> Result<u64, DbErr> {
    use command::Column as C;
    let oldest: Vec<(String, i64, Option<i64>)> =
        oldest::<command::Entity, _>(db, C::Id, &[C::CreatedAt, C::FinishedAt]).await?;
    let expired = oldest
        .into_iter()
        .filter(|(_, created_at, finished_at)| *created_at < before && finished_at.is_some())
        .map(|(id, ..)| id);
    delete::<command::Entity, _>(db, C::Id, expired.collect()).await
}

async fn old_keys(db: &DatabaseTransaction, before: i64) -> Result<u64, DbErr> {
    use idempotency_key::Column as K;
    // Times are nearly unique, so a time cuts off about as many rows as there are before it.
    let cut: Option<i64> = idempotency_key::Entity::find()
        .select_only()
        .column(K::CreatedAt)
        .filter(K::CreatedAt.lt(before))
        .order_by_asc(K::CreatedAt)
        .offset(ROWS_PER_PURGE)
        .limit(1)
        .into_tuple()
        .one(db)
        .await?;
    let old = K::CreatedAt.lt(cut.unwrap_or(before));
    let deleted = idempotency_key::Entity::delete_many().filter(old);
    Ok(deleted.exec(db).await?.rows_affected)
}

/// What a deleted life of a vehicle left behind.
async fn forgotten(db: &DatabaseTransaction, device_id: &str, through: i64) -> Result<u64, DbErr> {
    use command::Column as C;
    use debug_blob::Column as B;
    use idempotency_key::Column as K;
    use report::Column as R;
    let reports: Vec<i64> = report::Entity::find()
        .select_only()
        .column(R::Id)
        .filter(R::DeviceId.eq(device_id))
        .filter(R::ReceivedAt.lte(through))
        .limit(ROWS_PER_PURGE)
        .into_tuple()
        .all(db)
        .await?;
    let blobs: Vec<(i64, i64)> = debug_blob::Entity::find()
        .select_only()
        .columns([B::Id, B::Size])
        .filter(B::DeviceId.eq(device_id))
        .filter(B::ReceivedAt.lte(through))
        .limit(ROWS_PER_PURGE)
        .into_tuple()
        .all(db)
        .await?;
    let commands: Vec<String> = command::Entity::find()
        .select_only()
        .column(C::Id)
        .filter(C::DeviceId.eq(device_id))
        .filter(C::CreatedAt.lte(through))
        .limit(ROWS_PER_PURGE)
        .into_tuple()
        .all(db)
        .await?;
    // One vehicle has few keys: they live for a day.
    let keys = idempotency_key::Entity::delete_many()
        .filter(K::DeviceId.eq(device_id))
        .filter(K::CreatedAt.lte(through));
    // What was found, deleted or not: if another instance was first with these, there may be more all the same,
    // and nobody looks again once this one takes them for the last.
    let found = reports.len() + blobs.len() + commands.len();
    delete::<report::Entity, _>(db, R::Id, reports).await?;
    delete::<debug_blob::Entity, _>(db, B::Id, some_of(blobs.into_iter())).await?;
    delete::<command::Entity, _>(db, C::Id, commands).await?;
    Ok(found as u64 + keys.exec(db).await?.rows_affected)
}

/// The first of these `(id, size)` up to [`BYTES_PER_PURGE`], and at least one if there is one.
fn some_of(blobs: impl Iterator<Item = (i64, i64)>) -> Vec<i64> {
    let mut bytes = 0;
    blobs
        .take_while(|(_, size)| {
            let first = bytes == 0;
            bytes += size.max(&1);
            first || bytes <= BYTES_PER_PURGE
        })
        .map(|(id, _)| id)
        .collect()
}

async fn delete<E: EntityTrait, I: Into<Value>>(
    db: &DatabaseTransaction,
    id: E::Column,
    ids: Vec<I>,
) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = E::delete_many().filter(id.is_in(ids)).exec(db).await?;
    Ok(deleted.rows_affected)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_purge_step_takes_blobs_up_to_its_bytes_and_at_least_one() {
        let sizes = |sizes: &[i64]| some_of((0..).zip(sizes.iter().copied()));
        assert_eq!(sizes(&[BYTES_PER_PURGE * 2, 1]), [0]);
        assert_eq!(sizes(&[BYTES_PER_PURGE - 1, 1, 1]), [0, 1]);
        assert_eq!(sizes(&[0, 0]), [0, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
