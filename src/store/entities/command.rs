//! A row of `commands`, and its conversion to a command.

use sea_orm::entity::prelude::*;

use crate::{
    domain::{Command, DeviceId, Timestamp},
    store::StoreError,
};

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "commands")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) device_id: String,
    /// The sentence that the gateway sends.
    pub(crate) message: String,
    pub(crate) origin: String,
    pub(crate) state: String,
    pub(crate) created_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) sent_at: Option<i64>,
    /// NULL while the command may still change its state.
    pub(crate) finished_at: Option<i64>,
    pub(crate) reply: Option<String>,
    pub(crate) late_reply: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}

impl TryFrom<Model> for Command {
    type Error = StoreError;

    fn try_from(row: Model) -> Result<Self, StoreError> {
        let corrupt = |column| StoreError::Corrupt {
            table: "commands",
            column,
        };
        Ok(Self {
            id: row.id.parse().map_err(|_| corrupt("id"))?,
            device_id: DeviceId::parse(&row.device_id).map_err(|_| corrupt("device_id"))?,
            action: row.message.parse().map_err(|_| corrupt("message"))?,
            origin: row.origin.parse().map_err(|_| corrupt("origin"))?,
            state: row.state.parse().map_err(|_| corrupt("state"))?,
            created_at: Timestamp::from_millis(row.created_at),
            expires_at: Timestamp::from_millis(row.expires_at),
            sent_at: row.sent_at.map(Timestamp::from_millis),
            finished_at: row.finished_at.map(Timestamp::from_millis),
            reply: row.reply,
            late_reply: row.late_reply,
        })
    }
}
