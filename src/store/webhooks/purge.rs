//! Forgetting messages, in steps small enough that nobody waits for them.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::lanes::{LaneKey, Lanes};
use crate::store::{
    database::Transaction,
    entities::{webhook_endpoint, webhook_lane, webhook_message},
    statements::Texts,
};

/// Rows a step deletes at most.
const ROWS: u64 = 500;

/// Messages that were made before this time, delivered or not.
pub(in crate::store) async fn old_messages(
    db: &Transaction,
    texts: &mut Texts,
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
    let (mut finished, mut pending, mut keys) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (id, endpoint_id, device_id, state, created_at) in oldest {
        if created_at >= before {
            continue;
        }
        if state == webhook_message::PENDING {
            pending.push(id);
            keys.insert((endpoint_id, device_id));
        } else {
            finished.push(id);
        }
    }
    let forgotten = forget_pending(db, texts, pending, keys).await?;
    if finished.is_empty() {
        return Ok(forgotten);
    }
    let deleted = webhook_message::Entity::delete_many()
        .filter(M::Id.is_in(finished))
        // Somebody may want one to be sent again.
        .filter(M::State.ne(webhook_message::PENDING))
        .exec(db)
        .await?;
    Ok(forgotten + deleted.rows_affected)
}

/// Deletes those of these messages that are pending still, and has their lanes count them no more.
async fn forget_pending(
    db: &Transaction,
    texts: &mut Texts,
    ids: Vec<String>,
    keys: BTreeSet<LaneKey>,
) -> Result<u64, DbErr> {
    use webhook_message::Column as M;
    if ids.is_empty() {
        return Ok(0);
    }
    let mut lanes = Lanes::read(db, keys).await?;
    // Under the locks of their lanes nobody else changes them.
    let pending: Vec<(String, String, String, i64)> = webhook_message::Entity::find()
        .select_only()
        .columns([M::Id, M::EndpointId, M::DeviceId, M::Sequence])
        .filter(M::Id.is_in(ids))
        .filter(M::State.eq(webhook_message::PENDING))
        .into_tuple()
        .all(db)
        .await?;
    let mut forgotten = Vec::with_capacity(pending.len());
    for (id, endpoint_id, device_id, sequence) in pending {
        let key = (endpoint_id, device_id);
        let lane = lanes.get(&key);
        // What a deleted life of a vehicle left was taken off the count when it was deleted.
        if lane
            .is_some_and(|lane| sequence > lane.dropped_through && sequence <= lane.last_sequence)
            && let Some(lane) = lanes.change(&key)
        {
            lane.forget(1);
            if lane.open_message.as_ref() == Some(&id) {
                lane.open_message = None;
            }
        }
        forgotten.push(id);
    }
    lanes.write(db, texts).await?;
    delete(db, forgotten).await
}

/// What is left of deleted endpoints: messages, then lanes, then the endpoint.
pub(in crate::store) async fn deleted_endpoints(db: &Transaction) -> Result<u64, DbErr> {
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
pub(in crate::store) async fn forgotten(db: &Transaction, device_id: &str) -> Result<u64, DbErr> {
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

async fn delete(db: &Transaction, ids: Vec<String>) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = webhook_message::Entity::delete_many()
        .filter(webhook_message::Column::Id.is_in(ids))
        .exec(db)
        .await?;
    Ok(deleted.rows_affected)
}
