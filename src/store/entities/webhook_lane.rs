//! A row of `webhook_lanes`: a delivery queue.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_lanes")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) endpoint_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    /// Empty: the queue of test messages.
    pub(crate) device_id: String,
    pub(crate) last_sequence: i64,
    /// Messages up to this sequence number were dropped when the vehicle was deleted.
    pub(crate) dropped_through: i64,
    /// Messages that are neither delivered nor failed nor dropped.
    pub(crate) pending: i64,
    /// From when on the next message may be sent; while the queue is claimed, when the claim ends. NULL: nothing is
    /// pending.
    pub(crate) due: Option<i64>,
    /// The queue waits for its endpoint to recover.
    pub(crate) blocked: bool,
    pub(crate) claim: Option<String>,
    /// The newest message, while another change may still be merged into it.
    pub(crate) open_message: Option<String>,
    /// The changes that it reports, one bit for each kind of event.
    pub(crate) open_changed: i16,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
