//! What the gateway talks about: ids, ranges, sentences, vehicles, commands, why sessions end, and what
//! webhooks tell.
//!
//! Pure types. Nothing here does I/O, knows a database row or the shape of a message on a wire;
//! every other module may import this one, and this one imports none.

mod broadcast;
mod command;
mod device_id;
mod disconnect_reason;
mod sentence;
mod timestamp;
mod vehicle;
mod vehicle_state;
mod webhook;

pub use broadcast::Broadcast;
pub use command::{
    Action, Answer, AnswerKind, Command, CommandOrigin, CommandState, InvalidAction, UnknownName,
};
pub use device_id::{DeviceId, InvalidDeviceId};
pub use disconnect_reason::DisconnectReason;
pub use sentence::{DeviceSentence, GatewaySentence};
pub use timestamp::Timestamp;
pub use vehicle::{BlobInfo, Report, SessionKey, Vehicle};
pub use vehicle_state::{
    Battery, Degrees, Latitude, Longitude, OutOfRange, ReportInterval, Running, VehicleState,
};
pub use webhook::{Event, EventKind, EventKinds, Occurrence};
