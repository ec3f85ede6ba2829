//! Test messages, and messages that are sent again.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, DbErr, EntityTrait, IntoActiveModel, QueryFilter, QueryOrder,
    QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use super::{
    endpoint::Endpoint,
    message::{RetryProgress, RetryStep},
    outbox::{new_id, new_message},
    queues::{BatchQueues, QueueKey},
};
use crate::{
    domain::{MessageState, Timestamp},
    store::{
        database::Transaction,
        {entities::webhook_message, statements::Texts},
    },
    webhook_payload::WebhookPayload,
};

/// Messages that one step of a retry takes.
const MESSAGES_PER_STEP: u64 = 500;

/// Creates a test message, and returns its id.
pub(in crate::store) async fn send_test(
    db: &Transaction,
    texts: &mut Texts,
    endpoint: &Endpoint,
    now: Timestamp,
) -> Result<Option<Uuid>, DbErr> {
    let key = QueueKey::of_tests(endpoint.id);
    let mut queues = BatchQueues::read(db, [key.clone()].into()).await?;
    let Some(queue) = queues.change(&key) else {
        return Ok(None);
    };
    let sequence = queue.push(endpoint.ordered, now);
    let id = new_id(now);
    let payload = WebhookPayload::test(now, sequence)?;
    let message = new_message(id, &key, sequence, payload, now);
    webhook_message::Entity::insert(message.into_active_model().reset_all())
        .exec_without_returning(db)
        .await?;
    queues.write(db, texts).await?;
    Ok(Some(id))
}

/// Makes messages due now, whatever their state, and returns their number. Messages that were dropped with their
/// vehicle are left out.
pub(in crate::store) async fn retry(
    db: &Transaction,
    texts: &mut Texts,
    endpoint_id: Uuid,
    ids: &[String],
    now: Timestamp,
) -> Result<u64, DbErr> {
    use webhook_message::Column as M;
    let these = || {
        webhook_message::Entity::find()
            .select_only()
            .filter(M::EndpointId.eq(endpoint_id.to_string()))
            .filter(M::Id.is_in(ids))
    };
    let endpoint = endpoint_id.to_string();
    let devices: Vec<String> = these().column(M::DeviceId).into_tuple().all(db).await?;
    let keys = devices
        .iter()
        .map(|device_id| QueueKey::from_columns(&endpoint, device_id));
    let mut queues = BatchQueues::read(db, keys.collect::<Result<_, _>>()?).await?;
    // Under the locks of their queues no other transaction changes them.
    let messages: Vec<(String, String, i64, i16)> = these()
        .columns([M::Id, M::DeviceId, M::Sequence, M::State])
        .into_tuple()
        .all(db)
        .await?;
    let (mut retried, mut finished) = (Vec::new(), Vec::new());
    for (id, device_id, sequence, state) in messages {
        let key = QueueKey::from_columns(&endpoint, &device_id)?;
        let is_wanted = queues.get(&key).is_some_and(|it| it.contains(sequence));
        if !is_wanted {
            continue;
        }
        let Some(queue) = queues.change(&key) else {
            continue;
        };
        let was_final = state != MessageState::Pending as i16;
        queue.retry(was_final, now);
        if was_final {
            finished.push(id.clone());
        }
        retried.push(id);
    }
    if retried.is_empty() {
        return Ok(0);
    }
    let count = retried.len() as u64;
    webhook_message::Entity::update_many()
        .col_expr(M::Due, Expr::value(now.as_millis()))
        .filter(M::Id.is_in(retried))
        .exec(db)
        .await?;
    if !finished.is_empty() {
        webhook_message::Entity::update_many()
            .col_expr(M::State, Expr::value(MessageState::Pending as i16))
            .col_expr(M::FinishedAt, Expr::value(None::<i64>))
            .col_expr(M::Attempts, Expr::value(0))
            .filter(M::Id.is_in(finished))
            .exec(db)
            .await?;
    }
    queues.write(db, texts).await?;
    Ok(count)
}

/// Retries some of the messages that failed in a range of time, the oldest first.
pub(in crate::store) async fn retry_failed(
    db: &Transaction,
    texts: &mut Texts,
    endpoint_id: Uuid,
    step: RetryStep,
    now: Timestamp,
) -> Result<RetryProgress, DbErr> {
    use webhook_message::Column as M;
    let mut failed = webhook_message::Entity::find()
        .select_only()
        .column(M::Id)
        .filter(M::EndpointId.eq(endpoint_id.to_string()))
        .filter(M::State.eq(MessageState::Failed as i16))
        .filter(M::FinishedAt.gte(step.since.as_millis()))
        .filter(M::FinishedAt.lt(step.until.as_millis()))
        .order_by_asc(M::Id)
        .limit(MESSAGES_PER_STEP);
    if let Some(after) = step.after {
        failed = failed.filter(M::Id.gt(after.to_string()));
    }
    let failed: Vec<String> = failed.into_tuple().all(db).await?;
    let last = failed.last().and_then(|id| id.parse().ok());
    Ok(RetryProgress {
        messages: retry(db, texts, endpoint_id, &failed, now).await?,
        last: last.filter(|_| failed.len() as u64 == MESSAGES_PER_STEP),
    })
}
