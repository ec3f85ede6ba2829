//! The webhook part of a batch: messages about its events, and the attempts that it settles.
//!
//! Cost without endpoints, and for a batch whose events no endpoint subscribes to: nothing. Else one SELECT for each
//! endpoint with messages and each 512 of its vehicles, and one INSERT for each 64 to 128 messages and queues.

use std::collections::BTreeSet;

use sea_orm::DbErr;

use super::{
    attempts::{claim_next, settle},
    breakers::BatchOutcomes,
    endpoints::EndpointCache,
    message::FinishedAttempt,
    outbox::Outbox,
    queues::{BatchQueues, QueueKey},
    webhook_batch::WebhookBatch,
};
use crate::{
    domain::{DeviceId, Event, Timestamp},
    state::DeliveryQueue,
    store::{database::Transaction, statements::Texts},
};

/// What happened to vehicles in a batch.
#[derive(Debug)]
pub(in crate::store) struct BatchEvents {
    pub(in crate::store) events: Vec<Event>,
    pub(in crate::store) deleted: Vec<DeviceId>,
    pub(in crate::store) now: Timestamp,
}

/// Writes the messages about a batch's events and settles its attempts.
pub(in crate::store) async fn deliver(
    db: &Transaction,
    texts: &mut Texts,
    endpoints: &EndpointCache,
    happened: &BatchEvents,
    attempts: &[&FinishedAttempt],
) -> Result<WebhookBatch, DbErr> {
    let mut batch = WebhookBatch::default();
    let keys = touched(endpoints, happened, attempts);
    if keys.is_empty() {
        return Ok(batch);
    }
    let now = happened.now;
    let mut queues = BatchQueues::read(db, keys).await?;
    drop_deleted(endpoints, happened, &mut queues);
    let mut outbox = Outbox::default();
    for event in &happened.events {
        for endpoint in endpoints.enabled() {
            if let Some(kinds) = endpoint.subscribed(event) {
                outbox.add(endpoint, event, kinds, &mut queues, now)?;
            }
        }
    }
    outbox.write(db, texts).await?;
    let continued = settle(db, endpoints, &mut queues, attempts, now).await?;
    queues.write(db, texts).await?;
    // After the queues, which would overwrite the ones that are released here.
    let changes = BatchOutcomes::of(endpoints, attempts)
        .write(db, now)
        .await?;
    batch.effects.due = !outbox.is_empty() || changes.released;
    batch.effects.endpoints_changed = changes.endpoints_changed;
    batch.effects.disabled = changes.disabled;
    batch.effects.behind = changes.behind;
    batch.next = claim_next(db, texts, endpoints, &queues, &continued, now).await?;
    Ok(batch)
}

/// The keys of the queues that the batch may change.
fn touched(
    endpoints: &EndpointCache,
    happened: &BatchEvents,
    attempts: &[&FinishedAttempt],
) -> BTreeSet<QueueKey> {
    let mut keys = BTreeSet::new();
    for event in &happened.events {
        for endpoint in endpoints.enabled() {
            if endpoint.subscribed(event).is_some() {
                keys.insert(QueueKey::new(endpoint.id, &event.vehicle.device_id));
            }
        }
    }
    for device_id in &happened.deleted {
        keys.extend(endpoints.all().map(|it| QueueKey::new(it.id, device_id)));
    }
    keys.extend(attempts.iter().map(|attempt| attempt.key.queue.clone()));
    keys
}

/// Drops the messages of deleted vehicles.
fn drop_deleted(endpoints: &EndpointCache, happened: &BatchEvents, queues: &mut BatchQueues) {
    for device_id in &happened.deleted {
        for endpoint in endpoints.all() {
            let key = QueueKey::new(endpoint.id, device_id);
            let was_used = queues.get(&key).is_some_and(DeliveryQueue::was_used);
            if was_used && let Some(queue) = queues.change(&key) {
                queue.drop_all();
            }
        }
    }
}
