//! A row of `audit_records`: a request that changed something or spoke to a vehicle.

use sea_orm::entity::prelude::*;

use crate::{
    access::{AuditRecord, KeyId},
    domain::{DeviceId, Timestamp},
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "audit_records")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) at: i64,
    pub(crate) key_id: Option<String>,
    pub(crate) key_name: Option<String>,
    pub(crate) address: String,
    pub(crate) operation: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) device_id: Option<String>,
    pub(crate) status: Option<i16>,
    pub(crate) problem: Option<String>,
    pub(crate) request_id: String,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for AuditRecord {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "audit_records",
            column,
        };
        let device_id = row.device_id.as_deref().map(DeviceId::parse).transpose();
        let status = row.status.map(u16::try_from).transpose();
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            at: Timestamp::from_millis(row.at),
            key_id: row.key_id.as_deref().and_then(KeyId::parse),
            key_name: row.key_name,
            address: row.address,
            operation: row.operation,
            method: row.method,
            path: row.path,
            device_id: device_id.map_err(|_| corrupt("device_id"))?,
            status: status.map_err(|_| corrupt("status"))?,
            problem: row.problem,
            request_id: row.request_id,
        })
    }
}
