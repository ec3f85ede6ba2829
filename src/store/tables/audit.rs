//! The table `audit_records`: what was done over the API, and by whom.

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Value,
};
use uuid::Uuid;

use super::purge;
use crate::{
    access::{AuditRecord, KeyId},
    domain::{DeviceId, Timestamp},
    store::{
        Store, StoreError,
        database::Transaction,
        entities::audit_record::{Column, Entity},
        statements::{Texts, upsert},
    },
};

/// A part of the audit records, newest first.
#[derive(Debug, Clone, Default)]
pub struct AuditPage {
    /// At this time or later.
    pub from: Option<Timestamp>,
    /// Before this time.
    pub to: Option<Timestamp>,
    /// The id or the name of the key.
    pub key: Option<String>,
    /// The vehicle.
    pub device_id: Option<DeviceId>,
    /// Only what is older than the record with this id.
    pub older_than: Option<Uuid>,
    /// At most this many records.
    pub limit: u64,
}

impl Store {
    /// Lists audit records.
    pub async fn audit_records(&self, page: AuditPage) -> Result<Vec<AuditRecord>, StoreError> {
        let of_key = |key: String| {
            Condition::any()
                .add(Column::KeyId.eq(key.clone()))
                .add(Column::KeyName.eq(key))
        };
        let (from, to) = (page.from, page.to);
        let condition = Condition::all()
            .add_option(page.key.map(of_key))
            .add_option(page.device_id.map(|id| Column::DeviceId.eq(id.as_str())))
            .add_option(from.map(|from| Column::At.gte(from.as_millis())))
            .add_option(to.map(|to| Column::At.lt(to.as_millis())))
            .add_option(page.older_than.map(|id| Column::Id.lt(id.to_string())));
        let rows = Entity::find()
            .filter(condition)
            .order_by_desc(Column::Id)
            .limit(page.limit)
            .all(&self.reader)
            .await?;
        rows.into_iter().map(AuditRecord::try_from).collect()
    }
}

/// Writes the records of a batch.
pub(in crate::store) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    records: &[&AuditRecord],
) -> Result<(), DbErr> {
    const COLUMNS: [Column; 12] = [
        Column::Id,
        Column::At,
        Column::KeyId,
        Column::KeyName,
        Column::Address,
        Column::Operation,
        Column::Method,
        Column::Path,
        Column::DeviceId,
        Column::Status,
        Column::Problem,
        Column::RequestId,
    ];
    upsert::<Entity, _, _>(db, texts, records, &COLUMNS, 1, |record| -> [Value; 12] {
        [
            record.id.to_string().into(),
            record.at.as_millis().into(),
            record.key_id.as_ref().map(KeyId::as_str).into(),
            record.key_name.as_deref().into(),
            record.address.as_str().into(),
            record.operation.as_str().into(),
            record.method.as_str().into(),
            record.path.as_str().into(),
            record.device_id.as_ref().map(DeviceId::as_str).into(),
            record
                .status
                .and_then(|status| i16::try_from(status).ok())
                .into(),
            record.problem.as_deref().into(),
            record.request_id.as_str().into(),
        ]
    })
    .await
}

/// Deletes some records from before `before`, in milliseconds since 1970. Returns how many, 0 if there are no more.
pub(in crate::store) async fn purge_before(db: &Transaction, before: i64) -> Result<u64, DbErr> {
    let oldest: Vec<(String, i64)> =
        purge::oldest::<Entity, _>(db, Column::Id, &[Column::At]).await?;
    let expired = oldest.into_iter().filter(|(_, at)| *at < before);
    let ids = expired.map(|(id, _)| id).collect();
    purge::delete::<Entity, _>(db, Column::Id, ids).await
}
