//! Claims of queues that are due.
//!
//! Cost of a claim: one SELECT for the breakers; for each endpoint one SELECT that locks queues, two that find their
//! messages, and one write for each 128 queues.

use std::{sync::Arc, time::Duration};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{LockBehavior, LockType},
};
use uuid::Uuid;

use super::{
    breakers,
    endpoint::Endpoint,
    endpoints::EndpointCache,
    message::{ClaimLimit, ClaimedKey, ClaimedMessage, message_id},
    next_messages::{NextMessage, next_messages},
    queues::{QueueRow, write_rows},
};
use crate::{
    domain::Timestamp,
    store::{
        database::Transaction,
        entities::{webhook_lane, webhook_message},
        statements::Texts,
    },
};

/// Queues that one batch claims at most: reports that come meanwhile wait for it.
const QUEUES_PER_BATCH: u64 = 256;

/// Claims queues that are due, with the next message of each, and returns these messages.
pub(in crate::store) async fn claim(
    db: &Transaction,
    texts: &mut Texts,
    endpoints: &EndpointCache,
    limits: &[ClaimLimit],
    lasts: Duration,
    now: Timestamp,
) -> Result<Vec<ClaimedMessage>, DbErr> {
    let claim = Uuid::new_v4();
    let until = now.after(lasts);
    let mut left = QUEUES_PER_BATCH;
    let mut claimed = Vec::new();
    let breakers = breakers::read(db, limits.iter().map(|it| it.endpoint_id)).await?;
    for limit in limits {
        let id = limit.endpoint_id;
        let breaker = breakers.get(&id).filter(|breaker| !breaker.is_open(now));
        let (Some(endpoint), Some(breaker)) = (endpoints.enabled_with(id), breaker) else {
            continue;
        };
        let most = breaker.in_flight_limit(limit.queues).min(left);
        let models = due_queues(endpoint.id, now, most)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .all(db)
            .await?;
        let rows = models.into_iter().map(QueueRow::try_from);
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        left -= rows.len() as u64;
        let devices: Vec<&str> = rows.iter().map(|row| row.key.device()).collect();
        let mut next = next_messages(db, endpoint, &devices, now).await?;
        for row in &mut rows {
            match next
                .remove(row.key.device())
                .unwrap_or(NextMessage::Nothing)
            {
                NextMessage::Message(message) => {
                    claimed.push(take(endpoint, row, *message, claim, until, now)?);
                }
                NextMessage::At(due) => row.queue.correct(Some(due)),
                NextMessage::Nothing => row.queue.correct(None),
            }
        }
        let rows: Vec<_> = rows.iter().map(|row| (&row.key, &row.queue)).collect();
        write_rows(db, texts, &rows).await?;
        if left == 0 {
            break;
        }
    }
    Ok(claimed)
}

/// The queues of an endpoint that are due, the one that has waited longest first.
pub(super) fn due_queues(
    endpoint_id: Uuid,
    now: Timestamp,
    most: u64,
) -> Select<webhook_lane::Entity> {
    use webhook_lane::Column as L;
    webhook_lane::Entity::find()
        .filter(L::EndpointId.eq(endpoint_id.to_string()))
        .filter(L::Due.lte(now.as_millis()))
        .order_by_asc(L::Due)
        .limit(most)
}

/// Claims a queue until `until` for its next message.
pub(super) fn take(
    endpoint: &Arc<Endpoint>,
    row: &mut QueueRow,
    message: webhook_message::Model,
    claim: Uuid,
    until: Timestamp,
    now: Timestamp,
) -> Result<ClaimedMessage, DbErr> {
    let id = message_id(&message.id)?;
    row.queue.claim(claim, id, until);
    Ok(ClaimedMessage {
        key: ClaimedKey {
            queue: row.key.clone(),
            id,
            claim,
        },
        endpoint: Arc::clone(endpoint),
        body: message.body,
        attempts: u32::try_from(message.attempts).unwrap_or(0),
        is_early: message.due > now.as_millis(),
    })
}
