//! A row of `instances`: one life of a gateway on a database that others can reach.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "instances")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) name: String,
    /// [`LIVE`] or [`DEAD`].
    pub(crate) state: String,
    /// How many times it has committed.
    pub(crate) renewals: i64,
    /// The batch that it committed last.
    pub(crate) batch: i64,
}

/// It may write.
pub(crate) const LIVE: &str = "live";
/// It never writes again.
pub(crate) const DEAD: &str = "dead";

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
