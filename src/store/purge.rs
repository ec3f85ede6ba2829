//! Forgetting: deleting old rows in steps small enough that nobody waits for them.

use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};

use super::{
    entities::{debug_blob, report},
    intent::Purge,
};

/// Rows a purge step deletes at most, so that reports never wait long for it.
const ROWS_PER_PURGE: u64 = 500;
/// Bytes of blobs a purge step deletes at most: `SQLite` walks each page of them.
const BYTES_PER_PURGE: i64 = 8 << 20;

/// Deletes at most [`ROWS_PER_PURGE`] rows a table and says how many.
pub(super) async fn step(db: &DatabaseTransaction, step: &Purge) -> Result<u64, DbErr> {
    use debug_blob::Column as B;
    use report::Column as R;
    match step {
        // Ids ascend with time, so the oldest rows come first without an index on the time.
        Purge::Reports(before) => {
            let oldest: Vec<(i64, i64)> = report::Entity::find()
                .select_only()
                .columns([R::Id, R::ReceivedAt])
                .order_by_asc(R::Id)
                .limit(ROWS_PER_PURGE)
                .into_tuple()
                .all(db)
                .await?;
            let expired = oldest
                .into_iter()
                .filter(|(_, received_at)| *received_at < before.as_millis())
                .map(|(id, _)| id);
            delete::<report::Entity>(db, R::Id, expired.collect()).await
        }
        Purge::DebugBlobs(before) => {
            let oldest: Vec<(i64, i64, i64)> = debug_blob::Entity::find()
                .select_only()
                .columns([B::Id, B::Size, B::ReceivedAt])
                .order_by_asc(B::Id)
                .limit(ROWS_PER_PURGE)
                .into_tuple()
                .all(db)
                .await?;
            let expired = oldest
                .into_iter()
                .filter(|(_, _, received_at)| *received_at < before.as_millis())
                .map(|(id, size, _)| (id, size));
            delete::<debug_blob::Entity>(db, B::Id, some_of(expired)).await
        }
        Purge::Forgotten(device_id, through) => {
            let reports: Vec<i64> = report::Entity::find()
                .select_only()
                .column(R::Id)
                .filter(R::DeviceId.eq(device_id.as_str()))
                .filter(R::ReceivedAt.lte(through.as_millis()))
                .limit(ROWS_PER_PURGE)
                .into_tuple()
                .all(db)
                .await?;
            let blobs: Vec<(i64, i64)> = debug_blob::Entity::find()
                .select_only()
                .columns([B::Id, B::Size])
                .filter(B::DeviceId.eq(device_id.as_str()))
                .filter(B::ReceivedAt.lte(through.as_millis()))
                .limit(ROWS_PER_PURGE)
                .into_tuple()
                .all(db)
                .await?;
            let deleted = delete::<report::Entity>(db, R::Id, reports).await?;
            Ok(deleted
                + delete::<debug_blob::Entity>(db, B::Id, some_of(blobs.into_iter())).await?)
        }
    }
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

async fn delete<E: EntityTrait>(
    db: &DatabaseTransaction,
    id: E::Column,
    ids: Vec<i64>,
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
