//! A row of `webhook_lanes`: what one vehicle still has to tell one endpoint.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_lanes")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) endpoint_id: String,
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) device_id: String,
    pub(crate) last_sequence: i64,
    /// Messages up to this one are of a deleted life of the vehicle.
    pub(crate) dropped_through: i64,
    /// Messages that are neither delivered nor failed nor dropped.
    pub(crate) pending: i64,
    /// From when on the next may be sent; while it is claimed, when the claim is over. NULL: nothing is pending.
    pub(crate) due: Option<i64>,
    /// It waits for its endpoint, not for its message.
    pub(crate) blocked: bool,
    pub(crate) claim: Option<String>,
    /// The newest message, while another change may still be put into it.
    pub(crate) open_message: Option<String>,
    /// What that one says that changed.
    pub(crate) open_changed: i16,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
