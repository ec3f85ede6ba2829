//! The vocabulary of the gateway: ids, values with a range, sentences, vehicles, commands, disconnect reasons and
//! events.
//!
//! Pure types. Nothing here does I/O, knows a database row or the shape of a message on a wire;
//! every other module may import this one, and this one imports none.

mod broadcast;
mod command;
mod command_outcome;
mod device_id;
mod disconnect_reason;
mod event;
mod incarnation_id;
mod sentence;
mod timestamp;
mod vehicle;
mod vehicle_state;
mod webhook_message;

pub use broadcast::Broadcast;
pub use command::{
    Action, Answer, AnswerKind, Command, CommandOrigin, CommandState, InvalidAction,
};
pub use command_outcome::CommandOutcome;
pub use device_id::{DeviceId, InvalidDeviceId};
pub use disconnect_reason::DisconnectReason;
pub use event::{Event, EventKind, EventKinds, STATE_EVENTS, VehicleChange};
pub use incarnation_id::IncarnationId;
pub use sentence::{DeviceSentence, GatewaySentence};
pub use timestamp::{CLOCK_TOLERANCE, Timestamp};
pub use vehicle::{DebugBlobInfo, Report, SessionKey, Vehicle};
pub use vehicle_state::{
    Battery, Degrees, Latitude, Longitude, OutOfRange, ReportInterval, Running, VehicleState,
};
pub use webhook_message::{AttemptOutcome, DisabledReason, FailureCause, MessageState};
