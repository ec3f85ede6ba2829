//! What a device did and saw.

use super::{Marker, Moment};

/// A connection of one vehicle, numbered from 0 in the order in which its device opened them.
pub(crate) type ConnectionNumber = usize;

/// Something that a device did or saw on a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DeviceEvent {
    /// Connected. The gateway takes `address` for the device's address.
    Connected {
        address: String,
    },
    /// Sent the login.
    SentHello,
    /// Received the greeting.
    Greeted,
    SentReport(Marker),
    SentBlob(Marker),
    /// Received the acknowledgement of a report or of a debug blob.
    Acknowledged(Marker),
    /// Sent its report interval, in seconds.
    SentInterval(u32),
    /// Received the acknowledgement of its report interval.
    IntervalAcknowledged(u32),
    /// Received a command. `late`: it was read at the end of the run and may have arrived long before.
    ReceivedCommand {
        sentence: String,
        late: bool,
    },
    /// Replied to the `nth` command of this connection, counted from 0.
    SentReply {
        nth: usize,
        sentence: String,
        marker: Option<Marker>,
    },
    SentGoodbye,
    /// Stopped reading and left the connection open.
    StoppedReading,
    ClosedByDevice,
    /// The gateway, or the balancer between, closed the connection.
    ClosedByPeer,
    /// Gave up after `waited` milliseconds in which it got neither a reply nor a close.
    TimedOut {
        waited: Moment,
    },
    /// At the end of the run: the gateway still answers on this connection.
    AliveAtEnd,
    /// At the end of the run: the device had stopped reading, and the gateway has not closed the connection.
    OpenAtEnd,
    /// Received a sentence that the protocol does not allow at this point.
    UnexpectedSentence(String),
}

/// A device event with its time and connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Observation {
    pub(crate) at: Moment,
    pub(crate) connection: ConnectionNumber,
    pub(crate) event: DeviceEvent,
}
