//! The messages that a batch adds.

use std::{collections::HashMap, sync::Mutex};

use sea_orm::{DbErr, Iterable, sea_query::Value};
use uuid::{ContextV7, Uuid};

use super::{
    intent::Endpoint,
    lanes::{LaneKey, Lanes, key},
};
use crate::{
    domain::{Event, EventKinds, Timestamp, VehicleChange},
    store::{
        database::Transaction,
        entities::webhook_message,
        statements::{Texts, upsert},
    },
    webhook_payload::{PayloadError, WebhookPayload},
};

impl Endpoint {
    /// What of an event it is told, if anything.
    pub(super) fn told(&self, event: &Event) -> Option<EventKinds> {
        let kinds = event.change.kinds() & self.events;
        let devices = self.devices.as_ref();
        let is_about = devices.is_none_or(|ids| ids.contains(&event.vehicle.device_id));
        (is_about && !kinds.is_empty()).then_some(kinds)
    }
}

/// The messages of a batch.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: Vec<webhook_message::Model>,
    places: HashMap<String, usize>,
}

impl Outbox {
    /// One more, or a change of one that was not sent yet.
    pub(super) fn tell(
        &mut self,
        endpoint: &Endpoint,
        event: &Event,
        kinds: EventKinds,
        lanes: &mut Lanes,
        now: Timestamp,
    ) -> Result<(), DbErr> {
        let key = key(endpoint.id, event.vehicle.device_id.as_str());
        let Some(lane) = lanes.change(&key) else {
            return Ok(());
        };
        let merges = endpoint.coalesce && matches!(event.change, VehicleChange::State(_));
        let open = lane.open_message.take().filter(|_| merges);
        let open = open.and_then(|id| id.parse::<Uuid>().ok());
        let (id, kinds) = if let Some(open) = open {
            let before =
                EventKinds::from_u8_truncated(u8::try_from(lane.open_changed).unwrap_or(0));
            (open, kinds | (before & endpoint.events))
        } else {
            lane.last_sequence += 1;
            lane.push(now.as_millis(), endpoint.ordered);
            (new_id(now), kinds)
        };
        if merges {
            lane.open_message = Some(id.to_string());
            lane.open_changed = i16::from(kinds.as_u8());
        }
        let payload = WebhookPayload::event(event, kinds, lane.last_sequence)?;
        let message = new_message(id, &key, lane.last_sequence, payload, now);
        if let Some(place) = self.places.get(&message.id) {
            self.messages[*place] = message;
        } else {
            self.places.insert(message.id.clone(), self.messages.len());
            self.messages.push(message);
        }
        Ok(())
    }

    /// Whether there is nothing to tell.
    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    pub(super) async fn write(&self, db: &Transaction, texts: &mut Texts) -> Result<(), DbErr> {
        let columns: Vec<webhook_message::Column> = webhook_message::Column::iter().collect();
        // One that took in a change is there already.
        let messages: Vec<&webhook_message::Model> = self.messages.iter().collect();
        upsert::<webhook_message::Entity, _, _>(db, texts, &messages, &columns, 1, |message| {
            columns.iter().map(|column| value(message, *column))
        })
        .await
    }
}

/// A payload that cannot be rendered fails its own write request, not those that share its batch.
impl From<PayloadError> for DbErr {
    fn from(error: PayloadError) -> Self {
        Self::Type(error.to_string())
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
    payload: WebhookPayload,
    now: Timestamp,
) -> webhook_message::Model {
    webhook_message::Model {
        id: id.to_string(),
        endpoint_id: endpoint_id.clone(),
        device_id: device_id.clone(),
        sequence,
        kind: payload.message_type.to_owned(),
        state: webhook_message::PENDING,
        body: payload.body,
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
