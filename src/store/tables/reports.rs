//! The table `reports`: the history of vehicles' states.

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Value,
};

use super::{HistoryPage, purge, vehicles};
use crate::{
    domain::{DeviceId, Report},
    state::NewReport,
    store::{
        Store, StoreError,
        database::Transaction,
        entities::report::{Column, Entity},
        statements::{Texts, insert},
    },
};

/// Inserts the reports of a batch, in order.
pub(in crate::store) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    reports: &[NewReport],
) -> Result<(), DbErr> {
    const COLUMNS: [Column; 6] = [
        Column::DeviceId,
        Column::ReceivedAt,
        Column::Latitude,
        Column::Longitude,
        Column::Battery,
        Column::Running,
    ];
    insert::<Entity, _, _>(db, texts, reports, &COLUMNS, |report| -> [Value; 6] {
        let state = &report.state;
        [
            report.device_id.as_str().into(),
            report.received_at.as_millis().into(),
            state.latitude.to_f64().into(),
            state.longitude.to_f64().into(),
            i16::from(state.battery.percent()).into(),
            state.running.is_running().into(),
        ]
    })
    .await
}

/// Deletes some reports that were received before `before`, in milliseconds since 1970. Returns how many, 0 if there
/// are no more.
pub(in crate::store) async fn purge_before(db: &Transaction, before: i64) -> Result<u64, DbErr> {
    let oldest: Vec<(i64, i64)> =
        purge::oldest::<Entity, _>(db, Column::Id, &[Column::ReceivedAt]).await?;
    let expired = oldest
        .into_iter()
        .filter(|(_, received_at)| *received_at < before)
        .map(|(id, _)| id);
    purge::delete::<Entity, _>(db, Column::Id, expired.collect()).await
}

/// Deletes some reports of a deleted vehicle that were received up to `through`, in milliseconds since 1970. Returns
/// how many were found, 0 if there are no more.
pub(in crate::store) async fn purge_deleted(
    db: &Transaction,
    device_id: &str,
    through: i64,
) -> Result<u64, DbErr> {
    let is_deleted = Condition::all()
        .add(Column::DeviceId.eq(device_id))
        .add(Column::ReceivedAt.lte(through));
    let ids: Vec<i64> = purge::of_deleted::<Entity, _>(db, &[Column::Id], is_deleted).await?;
    let found = ids.len() as u64;
    purge::delete::<Entity, _>(db, Column::Id, ids).await?;
    Ok(found)
}

impl Store {
    /// Reports of a vehicle, newest first; `None` if there is no such vehicle.
    pub async fn reports(
        &self,
        device_id: &DeviceId,
        page: HistoryPage,
    ) -> Result<Option<Vec<Report>>, StoreError> {
        let Some(vehicle) = vehicles::existing(&self.reader, device_id).await? else {
            return Ok(None);
        };
        let rows = Entity::find()
            .filter(Column::DeviceId.eq(device_id.as_str()))
            .filter(page.condition(Column::ReceivedAt, Column::Id, vehicle.forget_through))
            .order_by_desc(Column::ReceivedAt)
            .order_by_desc(Column::Id)
            .limit(page.limit)
            .all(&self.reader)
            .await?;
        rows.into_iter()
            .map(Report::try_from)
            .collect::<Result<_, _>>()
            .map(Some)
    }
}
