//! What a run leaves behind: what devices and HTTP clients saw, and what the database says of it.

use std::{
    collections::BTreeMap,
    fmt,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

/// Milliseconds since the run began.
pub(crate) type Moment = i64;

/// One clock for all peers. What the database says is put on it.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    began: Instant,
    /// The same moment, in milliseconds since 1970.
    epoch: i64,
}

impl Clock {
    pub(crate) fn start() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self {
            began: Instant::now(),
            epoch: epoch.as_millis().try_into().unwrap(),
        }
    }

    pub(crate) fn now(self) -> Moment {
        self.began.elapsed().as_millis().try_into().unwrap()
    }

    /// A time of the database.
    pub(crate) fn at(self, millis: i64) -> Moment {
        millis - self.epoch
    }
}

/// A connection of one vehicle: they are numbered from 0 as they are made.
pub(crate) type Connection = usize;

/// The number that the values of a report or of an answer encode: each is used once by a vehicle.
pub(crate) type Marker = i64;

/// Something that a device did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
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
pub(crate) struct Seen {
    pub(crate) at: Moment,
    pub(crate) connection: Connection,
    pub(crate) event: Event,
}

/// What a device or somebody for it can have stored, each with a marker of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Report,
    Blob,
}

/// What an HTTP client was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
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
pub(crate) struct Request {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) device_id: String,
    /// What the vehicle is to hear.
    pub(crate) sentence: String,
    pub(crate) key: Option<String>,
    pub(crate) told: Told,
}

/// What else an HTTP client wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wish {
    /// A report for the vehicle.
    Report(Marker),
    /// That it is forgotten.
    Delete,
}

/// A request about one vehicle that is not for it to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Errand {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) device_id: String,
    pub(crate) wish: Wish,
    pub(crate) told: Told,
}

/// What `GET /vehicles/{deviceId}` said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Polled {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) device_id: String,
    pub(crate) online: bool,
}

/// Which transaction of which instance wrote: its id and how often it had committed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Writer {
    pub(crate) instance: String,
    pub(crate) batch: i64,
}

/// A session as a vehicle's row has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Session {
    pub(crate) online: bool,
    pub(crate) epoch: i64,
    pub(crate) instance: Option<String>,
    pub(crate) offline_due: Option<Moment>,
    pub(crate) remote: Option<String>,
    pub(crate) reason: Option<String>,
    /// The vehicle is deleted.
    pub(crate) deleted: bool,
    /// It was deleted last at this time, if what was before is not purged yet.
    pub(crate) forget: Option<Moment>,
}

/// What was written to the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
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
pub(crate) struct Audit {
    /// When it was written. The commit came later, perhaps much later.
    pub(crate) at: Moment,
    /// It was committed after this, as far as anybody looked.
    pub(crate) committed_after: Moment,
    pub(crate) writer: Writer,
    pub(crate) change: Change,
}

/// A row of `reports` or of `debug_blobs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredRow {
    pub(crate) kind: Kind,
    pub(crate) id: i64,
    pub(crate) device_id: String,
    /// `None`: no device ever sent such values.
    pub(crate) marker: Option<Marker>,
}

/// A row of `commands`; as it was last, if it was purged with its vehicle.
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
    pub(crate) const DELIVERED: i16 = 1;
}

/// A message as the endpoint got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) id: String,
    pub(crate) device_id: String,
    pub(crate) sequence: i64,
    pub(crate) kind: String,
    pub(crate) body: String,
}

/// A row of `vehicles`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct VehicleRow {
    pub(crate) device_id: String,
    pub(crate) session: Session,
    /// The last report that the row has.
    pub(crate) marker: Option<Marker>,
    /// How often it reports, as it said.
    pub(crate) acknowledged: Option<i64>,
}

/// Something that was done to the servers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    pub(crate) from: Moment,
    pub(crate) until: Moment,
    pub(crate) what: Fault,
}

/// What can be done to the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
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
pub(crate) struct History {
    pub(crate) seen: BTreeMap<String, Vec<Seen>>,
    pub(crate) requests: Vec<Request>,
    pub(crate) errands: Vec<Errand>,
    pub(crate) polled: Vec<Polled>,
    pub(crate) audit: Vec<Audit>,
    pub(crate) stored: Vec<StoredRow>,
    pub(crate) commands: Vec<CommandRow>,
    pub(crate) messages: Vec<MessageRow>,
    /// In the order in which they came.
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) vehicles: Vec<VehicleRow>,
    pub(crate) troubles: Vec<Trouble>,
    /// How many instances there are.
    pub(crate) instances: usize,
    /// Instances that were killed while they were live, and when.
    pub(crate) killed: Vec<(String, Moment)>,
    /// Connections of devices that the instances count at the end.
    pub(crate) held: u64,
    /// When the run was over.
    pub(crate) end: Moment,
}
