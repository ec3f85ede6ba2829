//! What the database noted: the audit entries that its triggers wrote during the run, and the rows at its end.

use super::{Marker, Moment, StoredKind};

/// One transaction of a gateway: its incarnation, and how many transactions that had begun.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct BatchId {
    pub(crate) incarnation: String,
    pub(crate) number: i64,
}

/// The session columns of a vehicle's row.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SessionRow {
    pub(crate) online: bool,
    pub(crate) epoch: i64,
    /// The incarnation that owns the session.
    pub(crate) incarnation: Option<String>,
    pub(crate) offline_due: Option<Moment>,
    pub(crate) remote_addr: Option<String>,
    pub(crate) disconnect_reason: Option<String>,
    /// The vehicle is deleted.
    pub(crate) deleted: bool,
    /// The time of its last deletion, until the history from before it is purged.
    pub(crate) forget_through: Option<Moment>,
}

/// A write to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// The session columns of a vehicle.
    Session {
        device_id: String,
        session: SessionRow,
    },
    /// The state of an incarnation, `live` or `dead`. `name` is that of its instance.
    Instance {
        id: String,
        name: String,
        state: String,
    },
    /// A new report or debug blob, and the epoch that the vehicle's row had then.
    Stored {
        device_id: String,
        kind: StoredKind,
        id: i64,
        epoch: i64,
        /// `None` if no device sends such values.
        marker: Option<Marker>,
    },
    /// The state of a command, and the epoch that the vehicle's row had then.
    Command {
        device_id: String,
        id: String,
        sentence: String,
        state: String,
        sent: bool,
        epoch: i64,
    },
    /// A new message to the webhook endpoint.
    Message {
        device_id: String,
        id: String,
        sequence: i64,
        kind: String,
    },
}

/// An entry of the audit table. Entries about one vehicle, and those about one incarnation, are in commit order,
/// because each was written under the lock of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    /// When the statement ran. The commit came later, possibly much later.
    pub(crate) at: Moment,
    /// A lower bound of the commit time: the last poll of the commit clock that did not see this entry.
    pub(crate) committed_after: Moment,
    pub(crate) batch: BatchId,
    pub(crate) change: Change,
}

/// A row of `reports` or of `debug_blobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRow {
    pub(crate) kind: StoredKind,
    pub(crate) id: i64,
    pub(crate) device_id: String,
    /// `None` if no device sends such values.
    pub(crate) marker: Option<Marker>,
}

/// A row of `commands`. Of a row that was purged with its vehicle this is the last state that the audit has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommandRow {
    pub(crate) id: String,
    pub(crate) device_id: String,
    pub(crate) sentence: String,
    pub(crate) state: String,
    pub(crate) created_at: Moment,
    pub(crate) expires_at: Moment,
    pub(crate) sent_at: Option<Moment>,
    pub(crate) finished_at: Option<Moment>,
    pub(crate) reply: Option<String>,
    pub(crate) late_reply: Option<String>,
}

/// A row of `webhook_messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MessageRow {
    pub(crate) id: String,
    pub(crate) state: i16,
    pub(crate) body: String,
}

impl MessageRow {
    /// The `state` of a delivered message.
    pub(crate) const DELIVERED: i16 = 1;
}

/// A row of `vehicles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VehicleRow {
    pub(crate) device_id: String,
    pub(crate) session: SessionRow,
    /// The marker of the last report, as the row shows it.
    pub(crate) marker: Option<Marker>,
    /// The report interval that the device confirmed, in seconds.
    pub(crate) acknowledged_interval: Option<i64>,
}
