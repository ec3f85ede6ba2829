//! A row of `webhook_endpoints`: where messages go, and the circuit breaker.

use sea_orm::entity::prelude::*;

#[derive(Clone, Debug, PartialEq, DeriveEntityModel)]
#[sea_orm(table_name = "webhook_endpoints")]
pub(crate) struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub(crate) id: String,
    pub(crate) url: String,
    /// A bit for each kind of event.
    pub(crate) events: i16,
    /// A JSON array of device ids; NULL is all vehicles.
    pub(crate) devices: Option<String>,
    pub(crate) secret: String,
    /// Signs messages as well, until `previous_until`.
    pub(crate) previous_secret: Option<String>,
    pub(crate) previous_until: Option<i64>,
    pub(crate) ordered: bool,
    pub(crate) coalesce: bool,
    /// Defined in the settings, and changed only there.
    pub(crate) configured: bool,
    pub(crate) disabled_at: Option<i64>,
    pub(crate) disabled_reason: Option<String>,
    pub(crate) created_at: i64,
    pub(crate) updated_at: i64,
    /// Consecutive failures, see [`CircuitBreaker`](crate::state::CircuitBreaker).
    pub(crate) failures: i32,
    pub(crate) failing_since: Option<i64>,
    pub(crate) paused_until: Option<i64>,
    pub(crate) last_error: Option<String>,
    /// Messages that were dropped because too many were pending.
    pub(crate) expired: i64,
    /// Since when it is behind, see [`Backlog`](crate::state::Backlog).
    pub(crate) behind_since: Option<i64>,
    /// When it may catch up.
    pub(crate) catch_up_at: Option<i64>,
    /// Deleted; its queues and messages are purged in steps.
    pub(crate) deleted_at: Option<i64>,
}

#[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
pub(crate) enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
