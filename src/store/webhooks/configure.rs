//! The endpoints of the settings.

use std::collections::BTreeSet;

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbBackend, DbErr, EntityTrait, QueryFilter, QuerySelect,
    sea_query::Expr,
};
use uuid::Uuid;

use super::{
    endpoint::{NewEndpoint, devices_column},
    endpoints::{bump_version, insert, insert_test_queue, mark_deleted},
    queues::QueueKey,
};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::{webhook_endpoint, webhook_lane},
    },
};

/// Makes these the configured endpoints. One that exists keeps its breaker, and stays disabled if it is. One that is
/// missing here is deleted. On a file it also ends the claims of an earlier run.
pub(in crate::store) async fn configure(
    db: &Transaction,
    endpoints: &[NewEndpoint],
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_endpoint::Column as C;
    let existing: Vec<String> = webhook_endpoint::Entity::find()
        .select_only()
        .column(C::Id)
        .filter(C::Configured.eq(true))
        .filter(C::DeletedAt.is_null())
        .into_tuple()
        .all(db)
        .await?;
    release_claims(db, now).await?;
    let wanted: BTreeSet<String> = endpoints.iter().map(|new| new.id.to_string()).collect();
    if existing.is_empty() && wanted.is_empty() {
        return Ok(());
    }
    for new in endpoints {
        let row = webhook_endpoint::Entity::find_by_id(new.id.to_string())
            .lock_exclusive()
            .one(db)
            .await?;
        let Some(row) = row else {
            insert(db, new, true, now).await?;
            continue;
        };
        if row.deleted_at.is_some() && !has_test_queue(db, new.id).await? {
            // The endpoint was deleted, and the purge has taken its queues but not its row yet.
            insert_test_queue(db, new.id).await?;
        }
        webhook_endpoint::Entity::update_many()
            .col_expr(C::Url, Expr::value(new.url.clone()))
            .col_expr(C::Events, Expr::value(i16::from(new.events.as_u8())))
            .col_expr(
                C::Devices,
                Expr::value(new.devices.as_ref().map(devices_column)),
            )
            .col_expr(C::Secret, Expr::value(new.secret.0.clone()))
            .col_expr(C::Ordered, Expr::value(new.ordered))
            .col_expr(C::Coalesce, Expr::value(new.coalesce))
            .col_expr(C::Configured, Expr::value(true))
            .col_expr(C::DeletedAt, Expr::value(None::<i64>))
            .filter(C::Id.eq(new.id.to_string()))
            .exec(db)
            .await?;
    }
    for id in existing.iter().filter(|id| !wanted.contains(*id)) {
        mark_deleted(db, id, now).await?;
    }
    bump_version(db).await
}

/// Ends all claims in a file: only this process sends from it, so they are those of an earlier run.
async fn release_claims(db: &Transaction, now: Timestamp) -> Result<(), DbErr> {
    use webhook_lane::Column as L;
    if db.get_database_backend() != DbBackend::Sqlite {
        return Ok(());
    }
    webhook_lane::Entity::update_many()
        .col_expr(L::Claim, Expr::value(None::<String>))
        .col_expr(L::Due, Expr::value(now.as_millis()))
        .filter(L::Due.gt(now.as_millis()))
        .filter(L::Claim.is_not_null())
        .exec(db)
        .await
        .map(drop)
}

/// Whether an endpoint has its queue of test messages.
async fn has_test_queue(db: &Transaction, endpoint_id: Uuid) -> Result<bool, DbErr> {
    let key = QueueKey::of_tests(endpoint_id);
    let id = (key.endpoint_id.to_string(), key.device().to_owned());
    let queue = webhook_lane::Entity::find_by_id(id).one(db).await?;
    Ok(queue.is_some())
}
