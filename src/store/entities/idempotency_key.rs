//! A row of `idempotency_keys`: the command that a caller's key stands for.

use sea_orm::entity::prelude::*;

use crate::{
    domain::{DeviceId, Timestamp},
    state::StoredKey,
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "idempotency_keys")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) device_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) key: String,
    pub(crate) command_id: String,
    /// The request that was made under this key, as text.
    pub(crate) request: String,
    pub(crate) created_at: i64,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for StoredKey {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "idempotency_keys",
            column,
        };
        Ok(Self {
            device_id: DeviceId::parse(&row.device_id).map_err(|_| corrupt("device_id"))?,
            key: row.key,
            command_id: row.command_id.parse().map_err(|_| corrupt("command_id"))?,
            request: row.request,
            created_at: Timestamp::from_millis(row.created_at),
        })
    }
}
