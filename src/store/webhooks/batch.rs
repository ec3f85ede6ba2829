//! What a batch does about webhooks.
//!
//! Cost without endpoints, and for a batch that none of them wants to be told of: nothing. Else one SELECT for each
//! endpoint with something to tell (and 512 vehicles), one INSERT for each 64 to 128 messages and lanes.

use std::collections::BTreeSet;

use sea_orm::DbErr;
use uuid::Uuid;

use super::{
    KnownEndpoints, changes,
    claim::claim,
    intent::{Settled, WebhookIntent},
    lanes::{LaneKey, Lanes, key},
    outbox::Outbox,
    settle::{go_on, settle},
    verdicts::Verdicts,
};
use crate::store::database::Transaction;
use crate::{
    domain::{DeviceId, Event, Timestamp},
    store::{entities::webhook_lane, statements::Texts, write_request::QueuedWrite},
};

/// What a batch does about webhooks beside what it writes.
#[derive(Debug, Clone, Default)]
pub(in crate::store) struct WebhookEffects {
    /// Something may be due that was not before.
    pub(in crate::store) due: bool,
    /// Endpoints that get nothing any more, and why.
    pub(in crate::store) disabled: Vec<(Uuid, &'static str)>,
    /// Endpoints are not what they were.
    pub(in crate::store) endpoints_changed: bool,
}

/// What happened in a batch, as far as webhooks are concerned.
#[derive(Debug)]
pub(in crate::store) struct Happened {
    pub(in crate::store) events: Vec<Event>,
    pub(in crate::store) deleted: Vec<DeviceId>,
    pub(in crate::store) now: Timestamp,
}

/// Writes all of it: messages, what became of those that were sent, claims, and changes of endpoints.
pub(in crate::store) async fn write(
    db: &Transaction,
    texts: &mut Texts,
    known: &KnownEndpoints,
    happened: &Happened,
    batch: &mut [QueuedWrite],
) -> Result<WebhookEffects, DbErr> {
    let mut intents: Vec<&mut WebhookIntent> = batch
        .iter_mut()
        .filter_map(|queued| queued.request.as_webhook())
        .collect();
    let keys = touched(known, happened, &intents);
    let mut effects = WebhookEffects::default();
    if keys.is_empty() && intents.is_empty() {
        return Ok(effects);
    }
    let mut lanes = Lanes::read(db, keys).await?;
    drop_deleted(known, happened, &mut lanes);
    let mut outbox = Outbox::default();
    for event in &happened.events {
        for endpoint in known.enabled() {
            if let Some(kinds) = endpoint.told(event) {
                outbox.tell(endpoint, event, kinds, &mut lanes, happened.now)?;
            }
        }
    }
    effects.due = !outbox.is_empty();
    outbox.write(db, texts).await?;
    settle_all(
        db,
        texts,
        known,
        &mut lanes,
        &mut intents,
        happened.now,
        &mut effects,
    )
    .await?;
    for intent in intents {
        match intent {
            WebhookIntent::Settle { .. } => {}
            WebhookIntent::Claim {
                endpoints,
                lasts,
                reply,
            } => {
                let claimed = claim(db, texts, known, endpoints, *lasts, happened.now);
                reply.set(claimed.await?);
            }
            other => {
                effects.due = true;
                effects.endpoints_changed = true;
                changes::write(db, texts, known, other, happened.now).await?;
            }
        }
    }
    Ok(effects)
}

/// Writes what came of messages and what that says of their endpoints, and claims what their lanes send next.
async fn settle_all(
    db: &Transaction,
    texts: &mut Texts,
    known: &KnownEndpoints,
    lanes: &mut Lanes,
    intents: &mut [&mut WebhookIntent],
    now: Timestamp,
    effects: &mut WebhookEffects,
) -> Result<(), DbErr> {
    let mut verdicts = Verdicts::default();
    let mut settled: Vec<&Settled> = Vec::new();
    for intent in &*intents {
        if let WebhookIntent::Settle {
            settled: one,
            disable_after,
            ..
        } = &**intent
        {
            verdicts.disable_after = *disable_after;
            verdicts.add(known, one);
            settled.push(one);
        }
    }
    let going_on = settle(db, known, lanes, &settled, now).await?;
    lanes.write(db, texts).await?;
    // After the lanes: what is freed there must not be written over.
    effects.disabled = verdicts.write(db, now).await?;
    effects.due |= verdicts.frees_lanes();
    effects.endpoints_changed = !effects.disabled.is_empty();
    let next = go_on(db, texts, known, lanes, &going_on, now).await?;
    for intent in intents {
        if let WebhookIntent::Settle { settled, reply, .. } = &mut **intent {
            reply.set(next.get(&settled.key.id).cloned());
        }
    }
    Ok(())
}

/// The lanes that are read.
fn touched(
    known: &KnownEndpoints,
    happened: &Happened,
    intents: &[&mut WebhookIntent],
) -> BTreeSet<LaneKey> {
    let mut keys = BTreeSet::new();
    for event in &happened.events {
        for endpoint in known
            .enabled()
            .filter(|endpoint| endpoint.told(event).is_some())
        {
            keys.insert(key(endpoint.id, event.vehicle.device_id.as_str()));
        }
    }
    for device_id in &happened.deleted {
        for endpoint in known.all() {
            keys.insert(key(endpoint.id, device_id.as_str()));
        }
    }
    for intent in intents {
        if let WebhookIntent::Settle { settled, .. } = intent {
            keys.insert(key(settled.key.endpoint_id, &settled.key.device_id));
        }
    }
    keys
}

/// What is pending of a deleted vehicle is not delivered any more, but what is on its way keeps its claim: what comes
/// after it must not overtake it. The sequence goes on.
fn drop_deleted(known: &KnownEndpoints, happened: &Happened, lanes: &mut Lanes) {
    for device_id in &happened.deleted {
        for endpoint in known.all() {
            let key = key(endpoint.id, device_id.as_str());
            if lanes.get(&key).is_none_or(|lane| lane.last_sequence == 0) {
                continue;
            }
            if let Some(lane) = lanes.change(&key) {
                *lane = webhook_lane::Model {
                    last_sequence: lane.last_sequence,
                    dropped_through: lane.last_sequence,
                    pending: 0,
                    due: lane.due.filter(|_| lane.claim.is_some()),
                    blocked: false,
                    open_message: None,
                    open_changed: 0,
                    ..lane.clone()
                };
            }
        }
    }
}
