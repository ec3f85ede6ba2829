//! The result of a command request.

use super::{Command, ReportInterval};

/// The result of a command request. It keeps this shape on the way through other instances up to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CommandOutcome {
    /// The command's record: in a final state or `queued`; or `sent`, if its end is unknown.
    Recorded {
        /// The command as it was last seen.
        command: Command,
    },
    /// The vehicle is offline; the interval is stored and is sent at its next login.
    Desired {
        /// The stored interval.
        interval: ReportInterval,
    },
    /// There is no vehicle with this id.
    UnknownVehicle,
    /// The vehicle is offline, and nothing is stored.
    Offline,
    /// The vehicle's queue is full, or this instance executes as many commands as it may.
    TooMany,
    /// The idempotency key stands for another request.
    KeyReused,
    /// Another instance holds the vehicle, and instances cannot reach each other.
    FanOutUnavailable,
    /// Another instance holds the vehicle, and it does not answer.
    OwnerUnreachable,
    /// The vehicle's session is not, or no longer, at the instance that was asked. The requester looks for it again.
    Moved,
    /// The database could not commit or answer in time.
    StoreUnavailable,
    /// The store failed in a way that is logged, and would fail again.
    StoreFailed,
}
