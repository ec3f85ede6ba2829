//! The table `debug_blobs`: the crash dumps of vehicles.

use bytes::Bytes;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, Func},
};

use super::{HistoryPage, purge, vehicles};
use crate::{
    domain::{DebugBlobInfo, DeviceId, Event, Timestamp, VehicleChange},
    state::NewBlob,
    store::{
        Store, StoreError,
        database::Transaction,
        entities::debug_blob::{ActiveModel, Column, Entity},
    },
};

/// Bytes of blobs that one purge step deletes at most: `SQLite` walks each page of them.
const BYTES_PER_STEP: i64 = 8 << 20;

/// A part of a debug blob.
#[derive(Debug, Clone)]
pub struct DebugBlobPiece {
    /// The length of the whole blob in bytes.
    pub size: u64,
    /// The part; empty beyond the end.
    pub bytes: Bytes,
}

/// Inserts the blobs of a batch, and gives their ids to their events. One statement each: they are few and may be
/// large.
pub(in crate::store) async fn write(
    db: &Transaction,
    blobs: Vec<NewBlob>,
    events: &mut [Option<Event>],
) -> Result<(), DbErr> {
    for blob in blobs {
        let row = ActiveModel {
            device_id: Set(blob.device_id.as_str().to_owned()),
            received_at: Set(blob.received_at.as_millis()),
            size: Set(i64::try_from(blob.content.len()).unwrap_or(i64::MAX)),
            content: Set(blob.content.into()),
            ..Default::default()
        };
        let insert = Entity::insert(row);
        let event = blob.event.and_then(|index| events.get_mut(index)?.as_mut());
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

/// Deletes some blobs that were received before `before`, in milliseconds since 1970. Returns how many, 0 if there are
/// no more.
pub(in crate::store) async fn purge_before(db: &Transaction, before: i64) -> Result<u64, DbErr> {
    let oldest: Vec<(i64, i64, i64)> =
        purge::oldest::<Entity, _>(db, Column::Id, &[Column::Size, Column::ReceivedAt]).await?;
    let expired = oldest
        .into_iter()
        .filter(|(_, _, received_at)| *received_at < before)
        .map(|(id, size, _)| (id, size));
    purge::delete::<Entity, _>(db, Column::Id, within_bytes(expired)).await
}

/// Deletes some blobs of a deleted vehicle that were received up to `through`, in milliseconds since 1970. Returns how
/// many were found, 0 if there are no more.
pub(in crate::store) async fn purge_deleted(
    db: &Transaction,
    device_id: &str,
    through: i64,
) -> Result<u64, DbErr> {
    let is_deleted = Condition::all()
        .add(Column::DeviceId.eq(device_id))
        .add(Column::ReceivedAt.lte(through));
    let blobs: Vec<(i64, i64)> =
        purge::of_deleted::<Entity, _>(db, &[Column::Id, Column::Size], is_deleted).await?;
    let found = blobs.len() as u64;
    purge::delete::<Entity, _>(db, Column::Id, within_bytes(blobs.into_iter())).await?;
    Ok(found)
}

/// The ids of the first of these blobs, given as `(id, size)`, that together have at most [`BYTES_PER_STEP`]; at least
/// one, if there is any.
fn within_bytes(blobs: impl Iterator<Item = (i64, i64)>) -> Vec<i64> {
    let mut bytes = 0;
    blobs
        .take_while(|(_, size)| {
            let first = bytes == 0;
            bytes += size.max(&1);
            first || bytes <= BYTES_PER_STEP
        })
        .map(|(id, _)| id)
        .collect()
}

impl Store {
    /// Debug blobs of a vehicle without their bytes, newest first; `None` if there is no such vehicle.
    pub async fn debug_blobs(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Option<Vec<DebugBlobInfo>>, StoreError> {
        let Some(vehicle) = vehicles::existing(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let rows: Vec<(i64, i64, i64)> = Entity::find()
            .select_only()
            .columns([Column::Id, Column::ReceivedAt, Column::Size])
            .filter(Column::DeviceId.eq(device_id.as_str()))
            .filter(page.condition(Column::ReceivedAt, Column::Id, vehicle.forget_through))
            .order_by_desc(Column::ReceivedAt)
            .order_by_desc(Column::Id)
            .limit(page.limit)
            .into_tuple()
            .all(&self.reader)
            .await?;
        let blobs = rows
            .into_iter()
            .map(|(id, received_at, size)| DebugBlobInfo {
                id,
                device_id: device_id.clone(),
                received_at: Timestamp::from_millis(received_at),
                size: size.unsigned_abs(),
            });
        Ok(Some(blobs.collect()))
    }

    /// Up to `length` bytes of one debug blob, from the offset `from` on; `None` if the vehicle has none with this id.
    /// A server or a file reads all of the blob for each piece.
    pub async fn debug_blob_piece(
        &self,
        device_id: &DeviceId,
        id: i64,
        from: u64,
        length: u64,
    ) -> Result<Option<DebugBlobPiece>, StoreError> {
        let Some(vehicle) = vehicles::existing(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let number = |value| i32::try_from(value).unwrap_or(i32::MAX);
        let piece = Func::cust("substr")
            .arg(Expr::col(Column::Content))
            .arg(number(from.saturating_add(1)))
            .arg(number(length));
        // SQLite's `substr` of an empty blob is NULL.
        let row: Option<(i64, Option<Vec<u8>>)> = Entity::find_by_id(id)
            .select_only()
            .column(Column::Size)
            .column_as(Expr::from(piece), "piece")
            .filter(Column::DeviceId.eq(device_id.as_str()))
            .filter(Column::ReceivedAt.gt(vehicle.forget_through.unwrap_or(i64::MIN)))
            .into_tuple()
            .one(&self.reader)
            .await?;
        Ok(row.map(|(size, bytes)| DebugBlobPiece {
            size: size.unsigned_abs(),
            bytes: bytes.unwrap_or_default().into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_takes_blobs_up_to_its_bytes_and_at_least_one() {
        let sizes = |sizes: &[i64]| within_bytes((0..).zip(sizes.iter().copied()));
        assert_eq!(sizes(&[BYTES_PER_STEP * 2, 1]), [0]);
        assert_eq!(sizes(&[BYTES_PER_STEP - 1, 1, 1]), [0, 1]);
        assert_eq!(sizes(&[0, 0]), [0, 1]);
        assert_eq!(sizes(&[]), [0; 0]);
    }
}
