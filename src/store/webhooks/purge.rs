//! Purge of messages, in steps small enough that other requests do not wait for them.

use std::collections::BTreeSet;

use sea_orm::{ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{
    message::message_id,
    queues::{BatchQueues, QueueKey},
};
use crate::{
    domain::MessageState,
    store::{
        database::Transaction,
        entities::{webhook_endpoint, webhook_lane, webhook_message},
        statements::Texts,
    },
};

/// Rows that one step deletes at most.
const ROWS_PER_STEP: u64 = 500;

/// Deletes some messages that were created before `before`, in milliseconds since 1970, delivered or not. Returns how
/// many, 0 if there are no more.
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
        .limit(ROWS_PER_STEP)
        .into_tuple()
        .all(db)
        .await?;
    let (mut finished, mut pending, mut keys) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (id, endpoint_id, device_id, state, created_at) in oldest {
        if created_at >= before {
            continue;
        }
        if state == MessageState::Pending as i16 {
            pending.push(id);
            keys.insert(QueueKey::from_columns(&endpoint_id, &device_id)?);
        } else {
            finished.push(id);
        }
    }
    let deleted_pending = delete_pending(db, texts, pending, keys).await?;
    if finished.is_empty() {
        return Ok(deleted_pending);
    }
    let deleted = webhook_message::Entity::delete_many()
        .filter(M::Id.is_in(finished))
        // An operator may have retried one meanwhile.
        .filter(M::State.ne(MessageState::Pending as i16))
        .exec(db)
        .await?;
    Ok(deleted_pending + deleted.rows_affected)
}

/// Deletes those of these messages that are still pending, and counts them out of their queues.
pub(super) async fn delete_pending(
    db: &Transaction,
    texts: &mut Texts,
    ids: Vec<String>,
    keys: BTreeSet<QueueKey>,
) -> Result<u64, DbErr> {
    use webhook_message::Column as M;
    if ids.is_empty() {
        return Ok(0);
    }
    let mut queues = BatchQueues::read(db, keys).await?;
    // Under the locks of their queues no other transaction changes them.
    let pending: Vec<(String, String, String, i64)> = webhook_message::Entity::find()
        .select_only()
        .columns([M::Id, M::EndpointId, M::DeviceId, M::Sequence])
        .filter(M::Id.is_in(ids))
        .filter(M::State.eq(MessageState::Pending as i16))
        .into_tuple()
        .all(db)
        .await?;
    let mut deleted = Vec::with_capacity(pending.len());
    for (id, endpoint_id, device_id, sequence) in pending {
        let key = QueueKey::from_columns(&endpoint_id, &device_id)?;
        // Messages of a deleted vehicle were counted out of their queue when it was deleted.
        let is_counted = queues.get(&key).is_some_and(|it| it.contains(sequence));
        if is_counted && let Some(queue) = queues.change(&key) {
            queue.remove(message_id(&id)?);
        }
        deleted.push(id);
    }
    queues.write(db, texts).await?;
    delete(db, deleted).await
}

/// Deletes some rows that a deleted endpoint left: its messages, then its queues, then the endpoint. Returns how many.
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
        .limit(ROWS_PER_STEP)
        .into_tuple()
        .all(db)
        .await?;
    if !messages.is_empty() {
        return delete(db, messages).await;
    }
    let queues: Vec<String> = webhook_lane::Entity::find()
        .select_only()
        .column(L::DeviceId)
        .filter(L::EndpointId.eq(&endpoint_id))
        .limit(ROWS_PER_STEP)
        .into_tuple()
        .all(db)
        .await?;
    if !queues.is_empty() {
        let deleted = webhook_lane::Entity::delete_many()
            .filter(L::EndpointId.eq(&endpoint_id))
            .filter(L::DeviceId.is_in(queues));
        return Ok(deleted.exec(db).await?.rows_affected);
    }
    let deleted = webhook_endpoint::Entity::delete_many()
        .filter(C::Id.eq(&endpoint_id))
        .filter(C::DeletedAt.is_not_null());
    Ok(deleted.exec(db).await?.rows_affected)
}

/// Deletes some messages that were dropped when their vehicle was deleted; returns how many.
pub(in crate::store) async fn dropped_messages(
    db: &Transaction,
    device_id: &str,
) -> Result<u64, DbErr> {
    use webhook_lane::Column as L;
    use webhook_message::Column as M;
    let queues: Vec<(String, i64)> = webhook_lane::Entity::find()
        .select_only()
        .columns([L::EndpointId, L::DroppedThrough])
        .filter(L::DeviceId.eq(device_id))
        .into_tuple()
        .all(db)
        .await?;
    let mut deleted = 0;
    for (endpoint_id, dropped_through) in queues {
        let messages: Vec<String> = webhook_message::Entity::find()
            .select_only()
            .column(M::Id)
            .filter(M::EndpointId.eq(endpoint_id))
            .filter(M::DeviceId.eq(device_id))
            .filter(M::Sequence.lte(dropped_through))
            .limit(ROWS_PER_STEP)
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
