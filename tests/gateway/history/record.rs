//! What a run leaves behind: what devices and HTTP clients saw, and what the database says of it.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the run began.
pub(super) type Moment = i64;

/// One clock for all peers. What the database says is put on it.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    began: Instant,
    /// The same moment, in milliseconds since 1970.
    epoch: i64,
}

impl Clock {
    pub(super) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            began: Instant::now(),
            epoch: epoch.as_millis().try_into().unwrap(),
        }
    }

    pub(super) fn now(self) -> Moment {
        self.began.elapsed().as_millis().try_into().unwrap()
    }

    /// A time of the database.
    pub(super) fn at(self, millis: i64) -> Moment {
        millis - self.epoch
    }
}

/// A connection of one vehicle: they are numbered from 0 as they are made.
pub(super) type Connection = usize;

/// The number that the values of a report or of an answer encode: each is used once by a vehicle.
pub(super) type Marker = i64;

/// Something that a device did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Event {
    /// Connected. The gateway takes this for the device's address.
    Connected { address: String },
    /// Said hello.
    Hello,
    /// Was greeted.
    Greeted,
    /// Sent a report.
    Reported(Marker),
    /// Sent a debug blob.
    Dumped(Marker),
    /// Was thanked for what it sent.
    Thanked(Marker),
    /// Said how often it reports.
    Stated(u32),
    /// Was told that this is noted.
    Noted(u32),
    /// Heard a command. `late`: it may have come long before, for nobody listened.
    Heard { sentence: String, late: bool },
    /// Answered the command that it heard as the nth on this connection, counted from 0.
    Answered {
        nth: usize,
        sentence: String,
        marker: Option<Marker>,
    },
    /// Said goodbye.
    Goodbye,
    /// Stopped listening, and left the connection open.
    Forgot,
    /// Closed the connection.
    Left,
    /// Was closed by the gateway, or by what is between.
    Closed,
    /// Was neither answered nor closed for so long, and gave up.
    Hung { waited: Moment },
    /// At the end of the run, when all is quiet: it is answered.
    Alive,
    /// At the end of the run: nobody listens, and the gateway has not closed it.
    StillOpen,
    /// Heard what nobody may say then.
    Unexpected(String),
}

/// An event of a vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) at: Moment,
    pub(super) connection: Connection,
    pub(super) event: Event,
}

/// What a device or somebody for it can have stored, each with a marker of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Report,
    Blob,
}

/// What an HTTP client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    /// An answer: its status, the problem's name or the status of the command if it is of the gateway and has one, and
    /// the command.
    Answer {
        status: u16,
        name: String,
        command: Option<String>,
        reply: Option<String>,
    },
    /// No answer.
    Nothing(String),
}

/// A request about one vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) from: Moment,
    pub(super) until: Moment,
    pub(super) device_id: String,
    /// What the vehicle is to hear.
    pub(super) sentence: String,
    pub(super) key: Option<String>,
    pub(super) told: Told,
}

/// What else an HTTP client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// A report for the vehicle.
    Report(Marker),
    /// That it is forgotten.
    Delete,
}

/// A request about one vehicle that is not for it to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Errand {
    pub(super) from: Moment,
    pub(super) until: Moment,
    pub(super) device_id: String,
    pub(super) wish: Wish,
    pub(super) told: Told,
}

/// What `GET /vehicles/{deviceId}` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Polled {
    pub(super) from: Moment,
    pub(super) until: Moment,
    pub(super) device_id: String,
    pub(super) online: bool,
}

/// Which transaction of which instance wrote: its id and how often it had committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Writer {
    pub(super) instance: String,
    pub(super) batch: i64,
}

/// A session as a vehicle's row has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Session {
    pub(super) online: bool,
    pub(super) epoch: i64,
    pub(super) instance: Option<String>,
    pub(super) offline_due: Option<Moment>,
    pub(super) remote: Option<String>,
    pub(super) reason: Option<String>,
    /// The vehicle is deleted.
    pub(super) deleted: bool,
    /// It was deleted last at this time, if what was before is not purged yet.
    pub(super) forget: Option<Moment>,
}

/// What was written to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Change {
    /// The session of a vehicle.
    Session { device_id: String, session: Session },
    /// The state of an instance, `live` or `dead`.
    Instance {
        id: String,
        name: String,
        state: String,
    },
    /// A new report or debug blob, while the vehicle's row had this epoch.
    Stored {
        device_id: String,
        kind: Kind,
        id: i64,
        epoch: i64,
        /// `None`: no device ever sent such values.
        marker: Option<Marker>,
    },
    /// The state of a command, while its vehicle's row had this epoch.
    Command {
        device_id: String,
        id: String,
        sentence: String,
        state: String,
        sent: bool,
        epoch: i64,
    },
    /// A new message to the endpoint of the run.
    Message {
        device_id: String,
        id: String,
        sequence: i64,
        kind: String,
    },
}

/// An entry of what the database noted about itself, by triggers. Those of one vehicle, and those of one
/// instance, are in the order of their commits: each was written under the lock of the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Audit {
    /// When it was written. The commit came later, perhaps much later.
    pub(super) at: Moment,
    /// It was committed after this, as far as anybody looked.
    pub(super) committed_after: Moment,
    pub(super) writer: Writer,
    pub(super) change: Change,
}

/// A row of `reports` or of `debug_blobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StoredRow {
    pub(super) kind: Kind,
    pub(super) id: i64,
    pub(super) device_id: String,
    /// `None`: no device ever sent such values.
    pub(super) marker: Option<Marker>,
}

/// A row of `commands`; as it was last, if it was purged with its vehicle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CommandRow {
    pub(super) id: String,
    pub(super) device_id: String,
    pub(super) sentence: String,
    pub(super) state: String,
    pub(super) created_at: Moment,
    pub(super) expires_at: Moment,
    pub(super) sent_at: Option<Moment>,
    pub(super) finished_at: Option<Moment>,
    pub(super) reply: Option<String>,
    pub(super) late_reply: Option<String>,
}

/// A row of `webhook_messages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MessageRow {
    pub(super) id: String,
    pub(super) state: i16,
    pub(super) body: String,
}

impl MessageRow {
    pub(super) const DELIVERED: i16 = 1;
}

/// A message as the endpoint got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Delivery {
    pub(super) id: String,
    pub(super) device_id: String,
    pub(super) sequence: i64,
    pub(super) kind: String,
    pub(super) body: String,
}

/// A row of `vehicles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VehicleRow {
    pub(super) device_id: String,
    pub(super) session: Session,
    /// The last report that the row has.
    pub(super) marker: Option<Marker>,
    /// How often it reports, as it said.
    pub(super) acknowledged: Option<i64>,
}

/// Something that was done to the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) from: Moment,
    pub(super) until: Moment,
    pub(super) what: Fault,
}

/// What can be done to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    /// An instance is killed, and started again at the end.
    Kill(usize),
    /// An instance stands still.
    Pause(usize),
    /// An instance is told to stop, and started again.
    Restart(usize),
    /// Redis is killed, and started again at the end.
    RedisDown,
    /// Redis stands still.
    RedisPause,
    /// The database is killed, and started again at the end.
    DatabaseDown,
    /// The database stands still.
    DatabasePause,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kill(index) => write!(f, "gateway-{} is killed", index + 1),
            Self::Pause(index) => write!(f, "gateway-{} stands still", index + 1),
            Self::Restart(index) => write!(f, "gateway-{} is restarted", index + 1),
            Self::RedisDown => f.write_str("Redis is down"),
            Self::RedisPause => f.write_str("Redis stands still"),
            Self::DatabaseDown => f.write_str("the database is down"),
            Self::DatabasePause => f.write_str("the database stands still"),
        }
    }
}

/// All of a run.
#[derive(Debug, Clone, Default)]
pub(super) struct History {
    pub(super) seen: BTreeMap<String, Vec<Seen>>,
    pub(super) requests: Vec<Request>,
    pub(super) errands: Vec<Errand>,
    pub(super) polled: Vec<Polled>,
    pub(super) audit: Vec<Audit>,
    pub(super) stored: Vec<StoredRow>,
    pub(super) commands: Vec<CommandRow>,
    pub(super) messages: Vec<MessageRow>,
    /// In the order in which they came.
    pub(super) deliveries: Vec<Delivery>,
    pub(super) vehicles: Vec<VehicleRow>,
    pub(super) troubles: Vec<Trouble>,
    /// How many instances there are.
    pub(super) instances: usize,
    /// Instances that were killed while they were live, and when.
    pub(super) killed: Vec<(String, Moment)>,
    /// Connections of devices that the instances count at the end.
    pub(super) held: u64,
    /// When the run was over.
    pub(super) end: Moment,
}
