//! Ended attempts: what they change in their messages and queues, and which messages are sent next.
//!
//! Cost of all attempts that a batch settles: one SELECT of the messages, one UPDATE for each 64 messages that finish
//! with the same outcome, and one UPDATE for each message that is sent again. Cost of claiming the next messages: one
//! SELECT of the breakers, two SELECTs for each endpoint, and one write for each 128 queues.

use std::collections::{BTreeMap, HashMap, HashSet};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, UpdateMany,
    sea_query::{CaseStatement, Expr, ExprTrait},
};
use uuid::Uuid;

use super::{
    breakers::{self, ERROR_CHARACTERS, storable},
    claim::take,
    endpoints::EndpointCache,
    message::{AttemptRecord, ClaimedMessage, FinishedAttempt},
    next_messages::{NextMessage, next_messages},
    queues::{BatchQueues, KEYS_PER_SELECT, QueueRow, write_rows},
};
use crate::{
    domain::{MessageState, Timestamp},
    state::MessageUpdate,
    store::{
        database::Transaction,
        entities::webhook_message,
        statements::{Texts, padded},
    },
};

/// The longest text that is stored of a response, in characters.
const RESPONSE_CHARACTERS: usize = 1024;
/// Messages that one UPDATE finishes at most.
const FINISHED_PER_UPDATE: usize = 64;

/// Settles attempts, and returns those after which the next message of the queue is to be claimed. An attempt whose
/// claim has ended is ignored: its message belongs to another claim.
pub(super) async fn settle<'a>(
    db: &Transaction,
    endpoints: &EndpointCache,
    queues: &mut BatchQueues,
    attempts: &[&'a FinishedAttempt],
    now: Timestamp,
) -> Result<Vec<&'a FinishedAttempt>, DbErr> {
    let attempts = still_claimed(queues, attempts);
    let messages = pending_messages(db, &attempts).await?;
    let (mut finished, mut continued) = (Vec::new(), Vec::new());
    for attempt in attempts {
        let Some(queue) = queues.change(&attempt.key.queue) else {
            continue;
        };
        let message = messages.get(&attempt.key.id);
        let planned = message.map_or(now, |message| message.due);
        let sent_early = attempt.is_early.then_some(planned);
        let update = MessageUpdate::after(&attempt.outcome, attempt.retry_in, sent_early, now);
        if message.is_some() {
            if update.is_final() {
                finished.push((attempt, update.state));
            } else {
                reschedule(db, attempt, &update, now).await?;
            }
        }
        let endpoint = endpoints.enabled_with(attempt.key.queue.endpoint_id);
        let ordered = endpoint.is_none_or(|endpoint| endpoint.ordered);
        let sequence = message.map(|message| message.sequence);
        let has_next = queue.settle(sequence, &update, ordered, now);
        if has_next && attempt.claim_next.is_some() {
            continued.push(attempt);
        }
    }
    finish(db, finished, now).await?;
    Ok(continued)
}

/// Claims the next messages of queues, unless the breaker of their endpoint is open. Returns them by the id of the
/// message before.
pub(super) async fn claim_next(
    db: &Transaction,
    texts: &mut Texts,
    endpoints: &EndpointCache,
    queues: &BatchQueues,
    continued: &[&FinishedAttempt],
    now: Timestamp,
) -> Result<HashMap<Uuid, ClaimedMessage>, DbErr> {
    let mut claimed = HashMap::new();
    let mut by_endpoint: BTreeMap<Uuid, Vec<&FinishedAttempt>> = BTreeMap::new();
    for attempt in continued {
        let endpoint_id = attempt.key.queue.endpoint_id;
        by_endpoint.entry(endpoint_id).or_default().push(attempt);
    }
    let breakers = breakers::read(db, by_endpoint.keys().copied()).await?;
    let mut changed = Vec::new();
    for (id, attempts) in by_endpoint {
        let is_open = breakers.get(&id).is_none_or(|breaker| breaker.is_open(now));
        let Some(endpoint) = endpoints.enabled_with(id).filter(|_| !is_open) else {
            continue;
        };
        let devices: Vec<&str> = attempts.iter().map(|it| it.key.queue.device()).collect();
        let mut next = next_messages(db, endpoint, &devices, now).await?;
        for attempt in attempts {
            let key = &attempt.key.queue;
            let queue = queues.get(key).cloned();
            let (Some(queue), Some(lasts)) = (queue, attempt.claim_next) else {
                continue;
            };
            // A queue without a message that may be sent now is claimed when it is due.
            let Some(NextMessage::Message(message)) = next.remove(key.device()) else {
                continue;
            };
            let mut row = QueueRow {
                key: key.clone(),
                queue,
            };
            let (claim, until) = (attempt.key.claim, now.after(lasts));
            let message = take(endpoint, &mut row, *message, claim, until, now)?;
            claimed.insert(attempt.key.id, message);
            changed.push(row);
        }
    }
    let rows: Vec<_> = changed.iter().map(|row| (&row.key, &row.queue)).collect();
    write_rows(db, texts, &rows).await?;
    Ok(claimed)
}

/// The attempts whose claim their queue still has, one for each message: a caller that got no answer settles its
/// attempt again.
fn still_claimed<'a>(
    queues: &BatchQueues,
    attempts: &[&'a FinishedAttempt],
) -> Vec<&'a FinishedAttempt> {
    let mut seen = HashSet::new();
    let is_claimed = |attempt: &FinishedAttempt| {
        let queue = queues.get(&attempt.key.queue);
        queue.is_some_and(|queue| queue.claim == Some(attempt.key.claim))
    };
    let attempts = attempts.iter().copied();
    attempts
        .filter(|attempt| is_claimed(attempt) && seen.insert(attempt.key.id))
        .collect()
}

/// The part of a pending message that decides what an attempt changes.
struct PendingMessage {
    due: Timestamp,
    sequence: i64,
}

/// Reads those of the messages that are still pending. Their queues are locked: no other transaction changes them.
async fn pending_messages(
    db: &Transaction,
    attempts: &[&FinishedAttempt],
) -> Result<HashMap<Uuid, PendingMessage>, DbErr> {
    use webhook_message::Column as M;
    let ids: Vec<String> = attempts.iter().map(|it| it.key.id.to_string()).collect();
    let mut pending = HashMap::with_capacity(ids.len());
    for chunk in ids.chunks(KEYS_PER_SELECT) {
        let found: Vec<(String, i64, i64)> = webhook_message::Entity::find()
            .select_only()
            .columns([M::Id, M::Due, M::Sequence])
            .filter(M::Id.is_in(padded(chunk)))
            .filter(M::State.eq(MessageState::Pending as i16))
            .into_tuple()
            .all(db)
            .await?;
        pending.extend(found.into_iter().filter_map(|(id, due, sequence)| {
            let due = Timestamp::from_millis(due);
            Some((id.parse().ok()?, PendingMessage { due, sequence }))
        }));
    }
    Ok(pending)
}

/// Stores the record of an attempt, and when its message is sent again.
async fn reschedule(
    db: &Transaction,
    attempt: &FinishedAttempt,
    update: &MessageUpdate,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_message::Column as M;
    record(&attempt.record, now)
        .col_expr(M::Due, Expr::value(update.due.as_millis()))
        .col_expr(
            M::Attempts,
            Expr::col(M::Attempts).add(i32::from(update.counts)),
        )
        .col_expr(M::TookMs, Expr::value(duration_millis(&attempt.record)))
        .filter(M::Id.eq(attempt.key.id.to_string()))
        .exec(db)
        .await
        .map(drop)
}

/// The part of an UPDATE that messages share whose attempts ended alike.
fn record(record: &AttemptRecord, now: Timestamp) -> UpdateMany<webhook_message::Entity> {
    use webhook_message::Column as M;
    webhook_message::Entity::update_many()
        .col_expr(M::AttemptedAt, Expr::value(now.as_millis()))
        .col_expr(M::Status, Expr::value(record.status.map(i32::from)))
        .col_expr(
            M::Answer,
            Expr::value(storable(record.response.as_deref(), RESPONSE_CHARACTERS)),
        )
        .col_expr(
            M::Error,
            Expr::value(storable(record.error.as_deref(), ERROR_CHARACTERS)),
        )
}

fn duration_millis(record: &AttemptRecord) -> Option<i64> {
    let duration = record.duration?;
    Some(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
}

/// Writes messages that are delivered or given up; those whose attempts ended alike, as nearly all do, in one
/// statement.
async fn finish(
    db: &Transaction,
    finished: Vec<(&FinishedAttempt, MessageState)>,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_message::Column as M;
    type Alike<'a> = (i16, Option<u16>, Option<&'a str>, Option<&'a str>);
    let mut groups: BTreeMap<Alike<'_>, Vec<(String, Option<i64>)>> = BTreeMap::new();
    let mut records: HashMap<Alike<'_>, &AttemptRecord> = HashMap::new();
    for (attempt, state) in finished {
        let of = &attempt.record;
        let (response, error) = (of.response.as_deref(), of.error.as_deref());
        let alike = (state as i16, of.status, response, error);
        records.insert(alike, of);
        let row = (attempt.key.id.to_string(), duration_millis(of));
        groups.entry(alike).or_default().push(row);
    }
    for (alike, rows) in groups {
        for chunk in rows.chunks(FINISHED_PER_UPDATE) {
            let mut durations = CaseStatement::new();
            for (id, millis) in padded(chunk) {
                durations = durations.case(Expr::col(M::Id).eq(id), millis);
            }
            let durations = durations.finally(Expr::col(M::TookMs));
            record(records[&alike], now)
                .col_expr(M::State, Expr::value(alike.0))
                .col_expr(M::Due, Expr::value(now.as_millis()))
                .col_expr(M::FinishedAt, Expr::value(now.as_millis()))
                .col_expr(M::Attempts, Expr::col(M::Attempts).add(1))
                .col_expr(M::TookMs, durations.into())
                .filter(M::Id.is_in(padded(chunk).map(|(id, _)| id)))
                .exec(db)
                .await?;
        }
    }
    Ok(())
}
