//! A row of `instances`: one incarnation of a gateway, on a database server.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "instances")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) name: String,
    /// [`LIVE`] or [`DEAD`].
    pub(crate) state: String,
    /// The number of its commits.
    pub(crate) renewals: i64,
    /// The number of the batch that it committed last.
    pub(crate) batch: i64,
}

/// The state of an incarnation that may write.
pub(crate) const LIVE: &str = "live";
/// The state of an incarnation that never writes again.
pub(crate) const DEAD: &str = "dead";

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
