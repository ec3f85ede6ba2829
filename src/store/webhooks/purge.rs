//! Forgetting messages, in steps small enough that nobody waits for them.

use std::collections::BTreeMap;

use sea_orm::{
    ColumnTrait, DatabaseTransaction, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{CaseStatement, Expr, ExprTrait},
};

use crate::store::entities::{webhook_endpoint, webhook_lane, webhook_message};

/// Rows a step deletes at most.
const ROWS: u64 = 500;

/// Messages that were made before this time, delivered or not.
pub(in crate::store) async fn old_messages(
    db: &DatabaseTransaction,
    before: i64,
) -> Result<u64, DbErr> {
    use webhook_message::Column as M;
    // Ids ascend with time: the lowest are the oldest.
    let oldest: Vec<(String, String, String, i16, i64)> = webhook_message::Entity::find()
        .select_only()
        .columns([M::Id, M::EndpointId, M::DeviceId, M::State, M::CreatedAt])
        .order_by_asc(M::Id)
        .limit(ROWS)
        .into_tuple()
        .all(db)
        .await?;
    let mut pending: BTreeMap<(String, String), i64> = BTreeMap::new();
    let mut expired = Vec::new();
    for (id, endpoint_id, device_id, state, created_at) in oldest {
        if created_at < before {
            expired.push(id);
            if state == webhook_message::PENDING {
                *pending.entry((endpoint_id, device_id)).or_default() += 1;
            }
        }
    }
    // In the order of the key, as everywhere.
    for ((endpoint_id, device_id), messages) in pending {
        less_pending(db, &endpoint_id, &device_id, messages).await?;
    }
    delete(db, expired).await
}

async fn less_pending(
    db: &DatabaseTransaction,
    endpoint_id: &str,
    device_id: &str,
    messages: i64,
) -> Result<(), DbErr> {
    use webhook_lane::Column as L;
    let left = || Expr::col(L::Pending).sub(messages);
    let is_left = || left().gt(0);
    webhook_lane::Entity::update_many()
        // What is evaluated first differs between databases: so `due` before what it is about.
        .col_expr(
            L::Due,
            CaseStatement::new()
                .case(is_left(), Expr::col(L::Due))
                .finally(Expr::value(None::<i64>))
                .into(),
        )
        .col_expr(
            L::Pending,
            CaseStatement::new()
                .case(is_left(), left())
                .finally(0)
                .into(),
        )
        .col_expr(L::OpenMessage, Expr::value(None::<String>))
        .filter(L::EndpointId.eq(endpoint_id))
        .filter(L::DeviceId.eq(device_id))
        .exec(db)
        .await
        .map(drop)
}

/// What is left of deleted endpoints: messages, then lanes, then the endpoint.
pub(in crate::store) async fn deleted_endpoints(db: &DatabaseTransaction) -> Result<u64, DbErr> {
    use webhook_endpoint::Column as C;
    use webhook_lane::Column as L;
    use webhook_message::Column as M;
    let deleted: Option<String> = webhook_endpoint::Entity::find()
        .select_only()
        .column(C::Id)
        .filter(C::DeletedAt.is_not_null())
        .into_tuple()
        .one(db)
        .await?;
    let Some(endpoint_id) = deleted else {
        return Ok(0);
    };
    let messages: Vec<String> = webhook_message::Entity::find()
        .select_only()
        .column(M::Id)
        .filter(M::EndpointId.eq(&endpoint_id))
        .limit(ROWS)
        .into_tuple()
        .all(db)
        .await?;
    if !messages.is_empty() {
        return delete(db, messages).await;
    }
    let lanes: Vec<String> = webhook_lane::Entity::find()
        .select_only()
        .column(L::DeviceId)
        .filter(L::EndpointId.eq(&endpoint_id))
        .limit(ROWS)
        .into_tuple()
        .all(db)
        .await?;
    if !lanes.is_empty() {
        let deleted = webhook_lane::Entity::delete_many()
            .filter(L::EndpointId.eq(&endpoint_id))
            .filter(L::DeviceId.is_in(lanes));
        return Ok(deleted.exec(db).await?.rows_affected);
    }
    let deleted = webhook_endpoint::Entity::delete_many()
        .filter(C::Id.eq(&endpoint_id))
        .filter(C::DeletedAt.is_not_null());
    Ok(deleted.exec(db).await?.rows_affected)
}

/// Messages about a deleted life of a vehicle.
pub(in crate::store) async fn forgotten(
    db: &DatabaseTransaction,
    device_id: &str,
) -> Result<u64, DbErr> {
    use webhook_lane::Column as L;
    use webhook_message::Column as M;
    let lanes: Vec<(String, i64)> = webhook_lane::Entity::find()
        .select_only()
        .columns([L::EndpointId, L::DroppedThrough])
        .filter(L::DeviceId.eq(device_id))
        .into_tuple()
        .all(db)
        .await?;
    let mut deleted = 0;
    for (endpoint_id, dropped_through) in lanes {
        let messages: Vec<String> = webhook_message::Entity::find()
            .select_only()
            .column(M::Id)
            .filter(M::EndpointId.eq(endpoint_id))
            .filter(M::DeviceId.eq(device_id))
            .filter(M::Sequence.lte(dropped_through))
            .limit(ROWS)
            .into_tuple()
            .all(db)
            .await?;
        deleted += delete(db, messages).await?;
    }
    Ok(deleted)
}

async fn delete(db: &DatabaseTransaction, ids: Vec<String>) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = webhook_message::Entity::delete_many()
        .filter(webhook_message::Column::Id.is_in(ids))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}
