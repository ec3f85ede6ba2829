//! A row of `webhook_messages`.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_messages")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) endpoint_id: String,
    pub(crate) device_id: String,
    pub(crate) sequence: i64,
    pub(crate) kind: String,
    /// A [`MessageState`](crate::domain::MessageState).
    pub(crate) state: i16,
    pub(crate) body: String,
    pub(crate) created_at: i64,
    /// When it may be sent next, if it is pending.
    pub(crate) due: i64,
    pub(crate) attempts: i32,
    pub(crate) attempted_at: Option<i64>,
    pub(crate) finished_at: Option<i64>,
    pub(crate) status: Option<i32>,
    pub(crate) took_ms: Option<i64>,
    pub(crate) answer: Option<String>,
    pub(crate) error: Option<String>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
