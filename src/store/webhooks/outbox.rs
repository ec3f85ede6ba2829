//! The outbox: messages that are written in the transaction of the change that they report.

use std::{collections::HashMap, sync::Mutex};

use sea_orm::{DbErr, Iterable, sea_query::Value};
use uuid::{ContextV7, Uuid};

use super::{
    endpoint::Endpoint,
    queues::{BatchQueues, QueueKey},
};
use crate::{
    domain::{Event, EventKinds, MessageState, Timestamp, VehicleChange},
    store::{
        database::Transaction,
        entities::webhook_message,
        statements::{Texts, upsert},
    },
    webhook_payload::{PayloadError, WebhookPayload},
};

/// The messages of a batch.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    messages: Vec<webhook_message::Model>,
    /// Places in `messages` by id.
    places: HashMap<Uuid, usize>,
}

impl Outbox {
    /// Adds an event, as a new message or to one that was not sent yet. `kinds` are the kinds of the event that the
    /// endpoint subscribes to.
    pub(super) fn add(
        &mut self,
        endpoint: &Endpoint,
        event: &Event,
        kinds: EventKinds,
        queues: &mut BatchQueues,
        now: Timestamp,
    ) -> Result<(), DbErr> {
        let key = QueueKey::new(endpoint.id, &event.vehicle.device_id);
        let Some(queue) = queues.change(&key) else {
            return Ok(());
        };
        let is_state_change = matches!(event.change, VehicleChange::State(_));
        let options = endpoint.queue_options();
        let place = queue.enqueue(kinds, is_state_change, options, new_id(now), now);
        let payload = WebhookPayload::event(event, place.kinds, place.sequence)?;
        let message = new_message(place.id, &key, place.sequence, payload, now);
        if let Some(index) = self.places.get(&place.id) {
            self.messages[*index] = message;
        } else {
            self.places.insert(place.id, self.messages.len());
            self.messages.push(message);
        }
        Ok(())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// Writes the messages: one statement for each 64 to 128.
    pub(super) async fn write(&self, db: &Transaction, texts: &mut Texts) -> Result<(), DbErr> {
        let columns: Vec<webhook_message::Column> = webhook_message::Column::iter().collect();
        // An upsert, because an open message into which a change was merged has a row already.
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

/// Returns the id of a new message. Ids ascend with the time of the database, which all instances share.
pub(super) fn new_id(now: Timestamp) -> Uuid {
    static ORDER: Mutex<ContextV7> = Mutex::new(ContextV7::new());
    const MILLIS_PER_SECOND: u64 = 1_000;
    const NANOS_PER_MILLI: u64 = 1_000_000;
    let millis = u64::try_from(now.as_millis()).unwrap_or(0);
    let nanos = u32::try_from(millis % MILLIS_PER_SECOND * NANOS_PER_MILLI).unwrap_or(0);
    let seconds = millis / MILLIS_PER_SECOND;
    Uuid::new_v7(uuid::Timestamp::from_unix(&ORDER, seconds, nanos))
}

/// Returns the time at which an id was made, in milliseconds since 1970.
fn made_at(id: Uuid) -> Option<i64> {
    let (seconds, nanos) = id.get_timestamp()?.to_unix();
    i64::try_from(seconds * 1000 + u64::from(nanos / 1_000_000)).ok()
}

/// A pending message.
pub(super) fn new_message(
    id: Uuid,
    key: &QueueKey,
    sequence: i64,
    payload: WebhookPayload,
    now: Timestamp,
) -> webhook_message::Model {
    webhook_message::Model {
        id: id.to_string(),
        endpoint_id: key.endpoint_id.to_string(),
        device_id: key.device().to_owned(),
        sequence,
        kind: payload.message_type.to_owned(),
        state: MessageState::Pending as i16,
        body: payload.body,
        // A message into which a change is merged keeps its age.
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
