//! The table of delivery queues (`webhook_lanes`). During a batch, queues are read and locked once, changed in memory
//! and written once.

use std::collections::{BTreeMap, BTreeSet};

use sea_orm::{
    ColumnTrait, DbErr, EntityTrait, Iterable, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, LockBehavior, LockType, Value},
};
use uuid::Uuid;

use crate::{
    domain::{DeviceId, EventKinds, InvalidDeviceId, Timestamp},
    state::{DeliveryQueue, OpenMessage},
    store::{
        database::Transaction,
        entities::webhook_lane,
        statements::{Texts, padded, upsert},
    },
};

/// Keys that one SELECT asks for at most.
pub(super) const KEYS_PER_SELECT: usize = 512;
/// Queues that one statement releases at most.
const QUEUES_PER_RELEASE: u64 = 500;
/// The text in the place of a device id where a message concerns no vehicle.
const NO_DEVICE: &str = "";

/// Identifies a delivery queue. The order of keys is the order in which queues are locked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct QueueKey {
    /// The endpoint that receives the messages.
    pub endpoint_id: Uuid,
    /// The vehicle that the messages concern; `None` is the queue of test messages.
    pub device_id: Option<DeviceId>,
}

impl QueueKey {
    pub(super) fn new(endpoint_id: Uuid, device_id: &DeviceId) -> Self {
        Self {
            endpoint_id,
            device_id: Some(device_id.clone()),
        }
    }

    pub(super) fn of_tests(endpoint_id: Uuid) -> Self {
        Self {
            endpoint_id,
            device_id: None,
        }
    }

    /// Reads the two columns of a key.
    pub(super) fn from_columns(endpoint_id: &str, device_id: &str) -> Result<Self, DbErr> {
        Ok(Self {
            endpoint_id: parse_id("endpoint_id", endpoint_id)?,
            device_id: parse_device(device_id).map_err(|_| corrupt("device_id"))?,
        })
    }

    /// The value of the column `device_id`.
    pub(super) fn device(&self) -> &str {
        self.device_id.as_ref().map_or(NO_DEVICE, DeviceId::as_str)
    }
}

/// Reads a column `device_id`.
pub(super) fn parse_device(text: &str) -> Result<Option<DeviceId>, InvalidDeviceId> {
    if text == NO_DEVICE {
        return Ok(None);
    }
    DeviceId::parse(text).map(Some)
}

fn corrupt(column: &str) -> DbErr {
    DbErr::Type(format!("webhook_lanes.{column} has an invalid value"))
}

fn parse_id(column: &str, text: &str) -> Result<Uuid, DbErr> {
    text.parse().map_err(|_| corrupt(column))
}

/// A key and its queue, as a row holds them.
#[derive(Debug, Clone)]
pub(super) struct QueueRow {
    pub(super) key: QueueKey,
    pub(super) queue: DeliveryQueue,
}

impl TryFrom<webhook_lane::Model> for QueueRow {
    type Error = DbErr;

    fn try_from(row: webhook_lane::Model) -> Result<Self, DbErr> {
        let claim = row.claim.map(|claim| parse_id("claim", &claim)).transpose();
        let open_message = row.open_message.map(|id| -> Result<_, DbErr> {
            Ok(OpenMessage {
                id: parse_id("open_message", &id)?,
                changed: u8::try_from(row.open_changed)
                    .map(EventKinds::from_u8_truncated)
                    .map_err(|_| corrupt("open_changed"))?,
            })
        });
        Ok(Self {
            key: QueueKey::from_columns(&row.endpoint_id, &row.device_id)?,
            queue: DeliveryQueue {
                last_sequence: row.last_sequence,
                dropped_through: row.dropped_through,
                pending: row.pending,
                due: row.due.map(Timestamp::from_millis),
                waits_for_endpoint: row.blocked,
                claim: claim?,
                open_message: open_message.transpose()?,
            },
        })
    }
}

#[derive(Debug, Default)]
struct BatchQueue {
    queue: DeliveryQueue,
    changed: bool,
}

/// The delivery queues that a batch touches.
#[derive(Debug, Default)]
pub(super) struct BatchQueues(BTreeMap<QueueKey, BatchQueue>);

impl BatchQueues {
    /// Reads and locks these queues, in the order of the keys, which is the order in which they are locked everywhere.
    /// One without a row begins empty: no other instance can create it now, because that takes the lock of its vehicle,
    /// which this batch holds.
    pub(super) async fn read(db: &Transaction, keys: BTreeSet<QueueKey>) -> Result<Self, DbErr> {
        use webhook_lane::Column as C;
        let mut by_endpoint: BTreeMap<Uuid, Vec<&str>> = BTreeMap::new();
        for key in &keys {
            let devices = by_endpoint.entry(key.endpoint_id).or_default();
            devices.push(key.device());
        }
        let mut queues = BTreeMap::new();
        for (endpoint_id, devices) in by_endpoint {
            for chunk in devices.chunks(KEYS_PER_SELECT) {
                let found = webhook_lane::Entity::find()
                    .filter(C::EndpointId.eq(endpoint_id.to_string()))
                    .filter(C::DeviceId.is_in(padded(chunk)))
                    .order_by_asc(C::DeviceId)
                    .lock_exclusive()
                    .all(db)
                    .await?;
                for model in found {
                    let QueueRow { key, queue } = model.try_into()?;
                    let changed = false;
                    queues.insert(key, BatchQueue { queue, changed });
                }
            }
        }
        for key in keys {
            queues.entry(key).or_default();
        }
        Ok(Self(queues))
    }

    /// One of the queues, to read it.
    pub(super) fn get(&self, key: &QueueKey) -> Option<&DeliveryQueue> {
        self.0.get(key).map(|entry| &entry.queue)
    }

    /// One of the queues, to change it: [`Self::write`] writes it then.
    pub(super) fn change(&mut self, key: &QueueKey) -> Option<&mut DeliveryQueue> {
        let entry = self.0.get_mut(key)?;
        entry.changed = true;
        Some(&mut entry.queue)
    }

    /// Writes the queues that were changed.
    pub(super) async fn write(&self, db: &Transaction, texts: &mut Texts) -> Result<(), DbErr> {
        let changed = self.0.iter().filter(|(_, entry)| entry.changed);
        let rows: Vec<(&QueueKey, &DeliveryQueue)> =
            changed.map(|(key, entry)| (key, &entry.queue)).collect();
        write_rows(db, texts, &rows).await
    }
}

/// Writes queues that are locked: one statement for each 128.
pub(super) async fn write_rows(
    db: &Transaction,
    texts: &mut Texts,
    rows: &[(&QueueKey, &DeliveryQueue)],
) -> Result<(), DbErr> {
    let columns: Vec<webhook_lane::Column> = webhook_lane::Column::iter().collect();
    upsert::<webhook_lane::Entity, _, _>(db, texts, rows, &columns, 2, |(key, queue)| {
        columns.iter().map(|column| value(key, queue, *column))
    })
    .await
}

fn value(key: &QueueKey, queue: &DeliveryQueue, column: webhook_lane::Column) -> Value {
    use webhook_lane::Column as C;
    match column {
        C::EndpointId => key.endpoint_id.to_string().into(),
        C::DeviceId => key.device().into(),
        C::LastSequence => queue.last_sequence.into(),
        C::DroppedThrough => queue.dropped_through.into(),
        C::Pending => queue.pending.into(),
        C::Due => queue.due.map(Timestamp::as_millis).into(),
        C::Blocked => queue.waits_for_endpoint.into(),
        C::Claim => queue.claim.map(|claim| claim.to_string()).into(),
        C::OpenMessage => queue.open_message.map(|open| open.id.to_string()).into(),
        C::OpenChanged => {
            let changed = queue.open_message.map_or(0, |open| open.changed.as_u8());
            i16::from(changed).into()
        }
    }
}

/// Which waiting queues to release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Release {
    /// Those that wait for their endpoint to recover.
    WaitingForEndpoint,
    /// All but those that are claimed.
    AllUnclaimed,
}

/// Makes waiting queues of an endpoint due. One that another transaction has locked keeps its own time: to wait for its
/// lock here, out of the common order, could be a deadlock.
pub(super) async fn release(
    db: &Transaction,
    endpoint_id: Uuid,
    which: Release,
    now: Timestamp,
) -> Result<(), DbErr> {
    use webhook_lane::Column as L;
    loop {
        let mut waiting = webhook_lane::Entity::find()
            .select_only()
            .column(L::DeviceId)
            .filter(L::EndpointId.eq(endpoint_id.to_string()))
            .filter(L::Due.gt(now.as_millis()))
            .filter(L::Claim.is_null());
        if which == Release::WaitingForEndpoint {
            waiting = waiting.filter(L::Blocked.eq(true));
        }
        let devices: Vec<String> = waiting
            .limit(QUEUES_PER_RELEASE)
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .into_tuple()
            .all(db)
            .await?;
        let found = devices.len() as u64;
        if found > 0 {
            webhook_lane::Entity::update_many()
                .col_expr(L::Due, Expr::value(now.as_millis()))
                .col_expr(L::Blocked, Expr::value(false))
                .filter(L::EndpointId.eq(endpoint_id.to_string()))
                .filter(L::DeviceId.is_in(devices))
                .exec(db)
                .await?;
        }
        if found < QUEUES_PER_RELEASE {
            return Ok(());
        }
    }
}
