//! What a batch writes about webhooks.
//!
//! Cost without endpoints, and for a batch that none of them wants to be told of: nothing. Else one SELECT for each
//! endpoint with something to tell (and 512 vehicles), one INSERT for each 64 to 128 messages and lanes.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Mutex,
};

use sea_orm::{DatabaseTransaction, DbErr, Iterable, sea_query::Value};
use uuid::{ContextV7, Uuid};

use super::{
    KnownEndpoints, Render, Telling, changes,
    claim::claim,
    intent::{Endpoint, Settled, WebhookIntent},
    lanes::{LaneKey, Lanes},
    settle::{go_on, settle},
    verdicts::Verdicts,
};
use crate::{
    domain::{DeviceId, Event, EventKinds, Occurrence, Timestamp},
    store::{
        batch::{Texts, upsert},
        entities::{webhook_lane, webhook_message},
        intent::{Intent, Queued},
    },
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

impl Endpoint {
    /// What of an event it is told, if anything.
    fn told(&self, event: &Event) -> Option<EventKinds> {
        let kinds = event.what.kinds() & self.events;
        let devices = self.devices.as_ref();
        let is_about = devices.is_none_or(|ids| ids.contains(&event.vehicle.device_id));
        (is_about && !kinds.is_empty()).then_some(kinds)
    }
}

/// Writes all of it: messages, what became of those that were sent, claims, and changes of endpoints.
pub(in crate::store) async fn write(
    db: &DatabaseTransaction,
    texts: &mut Texts,
    known: &KnownEndpoints,
    happened: &Happened,
    batch: &mut [Queued],
    render: Render,
) -> Result<WebhookEffects, DbErr> {
    let mut intents: Vec<&mut WebhookIntent> = batch
        .iter_mut()
        .filter_map(|queued| match &mut queued.intent {
            Intent::Webhook(intent) => Some(intent.as_mut()),
            _ => None,
        })
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
                outbox.tell(endpoint, event, kinds, &mut lanes, happened.now, render);
            }
        }
    }
    effects.due = !outbox.messages.is_empty();
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
                reply.set(Ok(claimed.await?));
            }
            other => {
                effects.due = true;
                effects.endpoints_changed = true;
                changes::write(db, texts, known, other, happened.now, render).await?;
            }
        }
    }
    Ok(effects)
}

/// Writes what came of messages and what that says of their endpoints, and claims what their lanes send next.
async fn settle_all(
    db: &DatabaseTransaction,
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
            reply.set(Ok(next.get(&settled.key.id).cloned()));
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

pub(super) fn key(endpoint_id: Uuid, device_id: &str) -> LaneKey {
    (endpoint_id.to_string(), device_id.to_owned())
}

/// What is pending of a deleted vehicle is not delivered any more. The sequence goes on.
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
                    due: None,
                    blocked: false,
                    claim: None,
                    open_message: None,
                    open_changed: 0,
                    ..lane.clone()
                };
            }
        }
    }
}

/// The messages of a batch.
#[derive(Debug, Default)]
struct Outbox {
    messages: Vec<webhook_message::Model>,
    places: HashMap<String, usize>,
}

impl Outbox {
    fn tell(
        &mut self,
        endpoint: &Endpoint,
        event: &Event,
        kinds: EventKinds,
        lanes: &mut Lanes,
        now: Timestamp,
        render: Render,
    ) {
        let key = key(endpoint.id, event.vehicle.device_id.as_str());
        let Some(lane) = lanes.change(&key) else {
            return;
        };
        let merges = endpoint.coalesce && matches!(event.what, Occurrence::Updated(_));
        let open = lane.open_message.take().filter(|_| merges);
        let open = open.and_then(|id| id.parse::<Uuid>().ok());
        let (id, kinds) = if let Some(open) = open {
            let before = EventKinds::from_bits(u8::try_from(lane.open_changed).unwrap_or(0));
            (open, kinds | (before & endpoint.events))
        } else {
            lane.last_sequence += 1;
            lane.push(now.as_millis(), endpoint.ordered);
            (new_id(now), kinds)
        };
        if merges {
            lane.open_message = Some(id.to_string());
            lane.open_changed = i16::from(kinds.bits());
        }
        let (kind, body) = render(Telling::Event(event, kinds), lane.last_sequence);
        let message = new_message(id, &key, lane.last_sequence, (kind, body), now);
        if let Some(place) = self.places.get(&message.id) {
            self.messages[*place] = message;
        } else {
            self.places.insert(message.id.clone(), self.messages.len());
            self.messages.push(message);
        }
    }

    async fn write(&self, db: &DatabaseTransaction, texts: &mut Texts) -> Result<(), DbErr> {
        let columns: Vec<webhook_message::Column> = webhook_message::Column::iter().collect();
        // One that took in a change is there already.
        let messages: Vec<&webhook_message::Model> = self.messages.iter().collect();
        upsert::<webhook_message::Entity, _, _>(db, texts, &messages, &columns, 1, |message| {
            columns.iter().map(|column| value(message, *column))
        })
        .await
    }
}

/// The id of a new message. Ids ascend with the time of the database, which is the same for all instances.
pub(super) fn new_id(now: Timestamp) -> Uuid {
    static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(millis % 1000 * 1_000_000).unwrap_or(0);
    Uuid::new_v7(uuid::Timestamp::from_unix(&ORDER, millis / 1000, nanos))
}

/// When the message with this id was made.
fn made_at(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    i64::try_from(seconds * 1000 + u64::from(nanos / 1_000_000)).ok()
}

pub(super) fn new_message(
    id: Uuid,
    (endpoint_id, device_id): &LaneKey,
    sequence: i64,
    (kind, body): (&str, String),
    now: Timestamp,
) -> webhook_message::Model {
    webhook_message::Model {
        id: id.to_string(),
        endpoint_id: endpoint_id.clone(),
        device_id: device_id.clone(),
        sequence,
        kind: kind.to_owned(),
        state: webhook_message::PENDING,
        body,
        // One that takes in a change stays as old as it is.
        created_at: made_at(id).unwrap_or(now.as_millis()),
        due: now.as_millis(),
        attempts: 0,
        attempted_at: None,
        finished_at: None,
        status: None,
        took_ms: None,
        answer: None,
        error: None,
    }
}

fn value(message: &webhook_message::Model, column: webhook_message::Column) -> Value {
    use webhook_message::Column as C;
    match column {
        C::Id => message.id.as_str().into(),
        C::EndpointId => message.endpoint_id.as_str().into(),
        C::DeviceId => message.device_id.as_str().into(),
        C::Sequence => message.sequence.into(),
        C::Kind => message.kind.as_str().into(),
        C::State => message.state.into(),
        C::Body => message.body.as_str().into(),
        C::CreatedAt => message.created_at.into(),
        C::Due => message.due.into(),
        C::Attempts => message.attempts.into(),
        C::AttemptedAt => message.attempted_at.into(),
        C::FinishedAt => message.finished_at.into(),
        C::Status => message.status.into(),
        C::TookMs => message.took_ms.into(),
        C::Answer => message.answer.as_deref().into(),
        C::Error => message.error.as_deref().into(),
    }
}
