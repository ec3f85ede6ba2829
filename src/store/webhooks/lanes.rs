//! Lanes during a batch: read and locked once, changed in memory, written once.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Value,
};

use uuid::Uuid;

use crate::store::{
    database::Transaction,
    entities::webhook_lane,
    statements::{Texts, padded, upsert},
};

/// Keys a SELECT asks for at most.
pub(super) const KEYS_PER_SELECT: usize = 512;

/// An endpoint and a vehicle.
pub(super) type LaneKey = (String, String);

pub(super) fn key(endpoint_id: Uuid, device_id: &str) -> LaneKey {
    (endpoint_id.to_string(), device_id.to_owned())
}

#[derive(Debug)]
struct LaneRow {
    model: webhook_lane::Model,
    changed: bool,
}

/// The lanes that a batch touches.
#[derive(Debug, Default)]
pub(super) struct Lanes(BTreeMap<LaneKey, LaneRow>);

impl Lanes {
    /// Reads and locks these, in the order of the key, which is the order in which they are locked everywhere. One that
    /// does not exist begins here: nobody else can make it, for that takes the lock of its vehicle.
    pub(super) async fn read(db: &Transaction, keys: BTreeSet<LaneKey>) -> Result<Self, DbErr> {
        use webhook_lane::Column as C;
        let mut by_endpoint: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (endpoint_id, device_id) in &keys {
            by_endpoint.entry(endpoint_id).or_default().push(device_id);
        }
        let mut lanes = BTreeMap::new();
        for (endpoint_id, devices) in by_endpoint {
            for chunk in devices.chunks(KEYS_PER_SELECT) {
                let found = webhook_lane::Entity::find()
                    .filter(C::EndpointId.eq(endpoint_id))
                    .filter(C::DeviceId.is_in(padded(chunk)))
                    .order_by_asc(C::DeviceId)
                    .lock_exclusive()
                    .all(db)
                    .await?;
                for model in found {
                    let key = (model.endpoint_id.clone(), model.device_id.clone());
                    let changed = false;
                    lanes.insert(key, LaneRow { model, changed });
                }
            }
        }
        for key in keys {
            let (endpoint_id, device_id) = key.clone();
            lanes.entry(key).or_insert_with(|| LaneRow {
                model: webhook_lane::Model {
                    endpoint_id,
                    device_id,
                    last_sequence: 0,
                    dropped_through: 0,
                    pending: 0,
                    due: None,
                    blocked: false,
                    claim: None,
                    open_message: None,
                    open_changed: 0,
                },
                changed: false,
            });
        }
        Ok(Self(lanes))
    }

    /// A lane to look at.
    pub(super) fn get(&self, key: &LaneKey) -> Option<&webhook_lane::Model> {
        self.0.get(key).map(|row| &row.model)
    }

    /// A lane to change.
    pub(super) fn change(&mut self, key: &LaneKey) -> Option<&mut webhook_lane::Model> {
        let row = self.0.get_mut(key)?;
        row.changed = true;
        Some(&mut row.model)
    }

    pub(super) async fn write(&self, db: &Transaction, texts: &mut Texts) -> Result<(), DbErr> {
        let changed: Vec<&webhook_lane::Model> = self
            .0
            .values()
            .filter(|row| row.changed)
            .map(|row| &row.model)
            .collect();
        write_rows(db, texts, &changed).await
    }
}

/// Writes lanes that are locked: one statement for each 128.
pub(super) async fn write_rows(
    db: &Transaction,
    texts: &mut Texts,
    lanes: &[&webhook_lane::Model],
) -> Result<(), DbErr> {
    let columns: Vec<webhook_lane::Column> = webhook_lane::Column::iter().collect();
    upsert::<webhook_lane::Entity, _, _>(db, texts, lanes, &columns, 2, |model| {
        columns.iter().map(|column| value(model, *column))
    })
    .await
}

impl webhook_lane::Model {
    /// One message more. Where the order matters it waits for those before it.
    pub(super) fn push(&mut self, now: i64, ordered: bool) {
        self.pending += 1;
        let waits = self.due.is_some() && (self.claim.is_some() || ordered);
        if !waits {
            self.due = Some(self.due.map_or(now, |due| due.min(now)));
        }
    }

    /// Its next message may be sent at once, whatever it waited for; one that is being sent goes on.
    pub(super) fn hurry(&mut self, now: i64) {
        if self.claim.is_none() {
            self.due = Some(now);
        }
    }

    /// Messages are gone that were pending. One of them may be on its way, and what comes after it must not overtake it.
    pub(super) fn forget(&mut self, messages: i64) {
        self.pending = (self.pending - messages).max(0);
        if self.pending == 0 && self.claim.is_none() {
            self.due = None;
        }
    }

    /// One message less; the claim is over.
    pub(super) fn release(&mut self, due: i64) {
        self.claim = None;
        self.due = (self.pending > 0).then_some(due);
    }
}

fn value(model: &webhook_lane::Model, column: webhook_lane::Column) -> Value {
    use webhook_lane::Column as C;
    match column {
        C::EndpointId => model.endpoint_id.as_str().into(),
        C::DeviceId => model.device_id.as_str().into(),
        C::LastSequence => model.last_sequence.into(),
        C::DroppedThrough => model.dropped_through.into(),
        C::Pending => model.pending.into(),
        C::Due => model.due.into(),
        C::Blocked => model.blocked.into(),
        C::Claim => model.claim.as_deref().into(),
        C::OpenMessage => model.open_message.as_deref().into(),
        C::OpenChanged => model.open_changed.into(),
    }
}
