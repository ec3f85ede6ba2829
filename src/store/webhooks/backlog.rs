//! Backlogs of endpoints: those that catch up, and messages that expire because too many are pending.

use std::{collections::BTreeSet, time::Duration};

use sea_orm::{
    ColumnTrait, Condition, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter,
    QueryOrder, QuerySelect,
    sea_query::{Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    endpoint::{backlog_from_columns, set_backlog},
    endpoints::{bump_version, find},
    purge::delete_pending,
    queries::next_due,
    queues::QueueKey,
};
use crate::{
    domain::{MessageState, Timestamp},
    state::{Backlog, CircuitBreaker},
    store::{
        Store, StoreError,
        database::Transaction,
        entities::{webhook_endpoint, webhook_message},
        statements::Texts,
    },
};

/// Messages that one step expires at most.
const MESSAGES_PER_STEP: u64 = 500;

/// How long after its recovery an endpoint catches up. A batch of another instance that began before the recovery
/// stores no message about the changes in it, and must have ended: twice the time that a server may take to answer, and
/// some more.
const UNTIL_NOTICED: Duration = Duration::from_secs(25);

/// How long before its batch a change may have been stamped.
const OLDEST_STAMP: Duration = Duration::from_mins(5);

/// An endpoint that is to be told of what changed while it was behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CatchUp {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// All vehicles whose changes it may have missed have changed at this time or later.
    pub since: Timestamp,
    /// The endpoint's backlog.
    pub backlog: Backlog,
}

/// Messages of an endpoint that are more than may be pending.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Surplus {
    /// The endpoint.
    pub endpoint_id: Uuid,
    /// The newest of them; all older ones that are pending are surplus, too.
    pub through: Uuid,
}

/// Stores state changes for an endpoint again, if it was behind, and lets it catch up. Returns whether it was behind.
pub(in crate::store) async fn recover(
    db: &Transaction,
    id: Uuid,
    now: Timestamp,
) -> Result<bool, DbErr> {
    let Some(row) = find(db, id).await? else {
        return Ok(false);
    };
    let mut backlog = backlog_from_columns(row.behind_since, row.catch_up_at);
    let catch_up_at = match db.get_database_backend() {
        DbBackend::Sqlite => now,
        _ => now.after(UNTIL_NOTICED),
    };
    if !backlog.recover(catch_up_at) {
        return Ok(false);
    }
    set_backlog(webhook_endpoint::Entity::update_many(), backlog)
        .filter(webhook_endpoint::Column::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    bump_version(db).await?;
    Ok(true)
}

/// Notes that an endpoint has caught up. Does nothing if it has another backlog than `known`: it has fallen behind
/// again.
pub(in crate::store) async fn caught_up(
    db: &Transaction,
    id: Uuid,
    known: Backlog,
) -> Result<(), DbErr> {
    let Some(row) = find(db, id).await? else {
        return Ok(());
    };
    if backlog_from_columns(row.behind_since, row.catch_up_at) != known {
        return Ok(());
    }
    set_backlog(webhook_endpoint::Entity::update_many(), Backlog::default())
        .filter(webhook_endpoint::Column::Id.eq(id.to_string()))
        .exec(db)
        .await?;
    bump_version(db).await
}

/// Deletes some surplus messages, the oldest first, and counts them. Returns how many, 0 if there are no more.
pub(in crate::store) async fn expire(
    db: &Transaction,
    texts: &mut Texts,
    surplus: Surplus,
) -> Result<u64, DbErr> {
    use webhook_endpoint::Column as C;
    use webhook_message::Column as M;
    let endpoint = surplus.endpoint_id.to_string();
    let oldest: Vec<(String, String)> = webhook_message::Entity::find()
        .select_only()
        .columns([M::Id, M::DeviceId])
        .filter(M::EndpointId.eq(&endpoint))
        .filter(M::State.eq(MessageState::Pending as i16))
        .filter(M::Id.lte(surplus.through.to_string()))
        .order_by_asc(M::Id)
        .limit(MESSAGES_PER_STEP)
        .into_tuple()
        .all(db)
        .await?;
    let mut keys = BTreeSet::new();
    for (_, device_id) in &oldest {
        keys.insert(QueueKey::from_columns(&endpoint, device_id)?);
    }
    let ids = oldest.into_iter().map(|(id, _)| id).collect();
    let expired = delete_pending(db, texts, ids, keys).await?;
    if expired > 0 {
        let more = i64::try_from(expired).unwrap_or(i64::MAX);
        webhook_endpoint::Entity::update_many()
            .col_expr(C::Expired, Expr::col(C::Expired).add(more))
            .filter(C::Id.eq(&endpoint))
            .exec(db)
            .await?;
    }
    Ok(expired)
}

impl Store {
    /// Returns the endpoints that may catch up at `now`.
    pub async fn endpoints_catching_up(&self, now: Timestamp) -> Result<Vec<CatchUp>, StoreError> {
        use webhook_endpoint::Column as C;
        let rows: Vec<(String, Option<i64>, Option<i64>)> = webhook_endpoint::Entity::find()
            .select_only()
            .columns([C::Id, C::BehindSince, C::CatchUpAt])
            .filter(C::CatchUpAt.lte(now.as_millis()))
            .filter(C::DeletedAt.is_null())
            .filter(C::DisabledAt.is_null())
            .into_tuple()
            .all(&self.reader)
            .await?;
        let found = rows
            .into_iter()
            .filter_map(|(id, behind_since, catch_up_at)| {
                let backlog = backlog_from_columns(behind_since, catch_up_at);
                Some(CatchUp {
                    endpoint_id: id.parse().ok()?,
                    since: backlog.behind_since?.before(OLDEST_STAMP),
                    backlog,
                })
            });
        Ok(found.collect())
    }

    /// Returns the endpoints that are behind and have no message left that could show that they work again.
    pub async fn endpoints_left_behind(&self, now: Timestamp) -> Result<Vec<Uuid>, StoreError> {
        use webhook_endpoint::{Column as E, Entity as Endpoint};
        let pause_is_over = Condition::any()
            .add(E::PausedUntil.is_null())
            .add(E::PausedUntil.lte(now.as_millis()))
            .add(E::PausedUntil.gt(CircuitBreaker::furthest_pause(now).as_millis()));
        let ids: Vec<String> = Endpoint::find()
            .select_only()
            .column(E::Id)
            .filter(E::BehindSince.is_not_null())
            .filter(E::CatchUpAt.is_null())
            .filter(E::DeletedAt.is_null())
            .filter(E::DisabledAt.is_null())
            .filter(pause_is_over)
            .filter(next_due().is_null())
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }

    /// Returns the endpoints with more than `allowed` pending messages: one index range for each endpoint.
    pub async fn surplus_messages(&self, allowed: u64) -> Result<Vec<Surplus>, StoreError> {
        use webhook_message::Column as M;
        let mut found = Vec::new();
        for endpoint in self.endpoints().await? {
            let newest: Option<String> = webhook_message::Entity::find()
                .select_only()
                .column(M::Id)
                .filter(M::EndpointId.eq(endpoint.id.to_string()))
                .filter(M::State.eq(MessageState::Pending as i16))
                .order_by_desc(M::Id)
                .offset(allowed)
                .limit(1)
                .into_tuple()
                .one(&self.reader)
                .await?;
            let through = newest.and_then(|id| id.parse().ok());
            found.extend(through.map(|through| Surplus {
                endpoint_id: endpoint.id,
                through,
            }));
        }
        Ok(found)
    }
}
