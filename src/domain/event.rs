//! Events: the changes of a vehicle that webhooks report.

use bytes::Bytes;
use enumset::{EnumSet, EnumSetType, enum_set};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};
use uuid::Uuid;

use super::{Command, DisconnectReason, Timestamp, Vehicle};

/// A kind of event that an endpoint can subscribe to. Its text is its name in settings and in REST.
///
/// The position of a kind is its bit in a stored [`EventKinds`], so new kinds are added at the end.
#[derive(Debug, Hash, EnumSetType, Display, EnumString, IntoStaticStr, VariantNames)]
#[enumset(repr = "u8")]
#[strum(serialize_all = "kebab-case")]
pub enum EventKind {
    /// A vehicle came online.
    Online,
    /// A vehicle went offline.
    Offline,
    /// A vehicle moved.
    Position,
    /// A vehicle's state of charge changed.
    Battery,
    /// A vehicle was turned on or off.
    Running,
    /// A vehicle sent a crash dump.
    DebugBlob,
    /// A command came to its end.
    Command,
}

impl EventKind {
    /// The kind's name in settings and in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// A set of [`EventKind`]s, stored as one bit for each kind.
pub type EventKinds = EnumSet<EventKind>;

/// The kinds of events that a report or an answer can cause.
pub const STATE_EVENTS: EventKinds =
    enum_set!(EventKind::Position | EventKind::Battery | EventKind::Running);

/// A change of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The vehicle after the change.
    pub vehicle: Vehicle,
    /// When the change happened.
    pub at: Timestamp,
    /// What changed.
    pub change: VehicleChange,
    /// The only webhook endpoint that gets the event, one that catches up; `None`: all that subscribe to the change.
    pub only_for: Option<Uuid>,
}

/// What changed in an [`Event`].
#[derive(Debug, Clone, PartialEq)]
pub enum VehicleChange {
    /// The vehicle came online.
    Online,
    /// The vehicle went offline, for this reason.
    Offline(DisconnectReason),
    /// A report or an answer changed these parts of the vehicle's state.
    State(EventKinds),
    /// The vehicle sent a crash dump.
    DebugBlob {
        /// The dump's id.
        id: i64,
        /// The dump's bytes.
        content: Bytes,
    },
    /// A command came to its end.
    Command(Box<Command>),
}

impl VehicleChange {
    /// The kinds of events that the change counts as: more than one if a report changed several values.
    #[must_use]
    pub fn kinds(&self) -> EventKinds {
        match self {
            Self::Online => EventKind::Online.into(),
            Self::Offline(_) => EventKind::Offline.into(),
            Self::State(changed) => *changed,
            Self::DebugBlob { .. } => EventKind::DebugBlob.into(),
            Self::Command(_) => EventKind::Command.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_the_names_of_settings_and_rest() {
        let names = "online offline position battery running debug-blob command";
        assert_eq!(EventKind::VARIANTS.join(" "), names);
        for kind in EventKinds::all() {
            assert_eq!(kind.as_str().parse(), Ok(kind));
        }
        assert!("blob".parse::<EventKind>().is_err());
    }

    #[test]
    fn kinds_keep_their_stored_bits() {
        for (bit, kind) in EventKinds::all().into_iter().enumerate() {
            assert_eq!(EventKinds::only(kind).as_u8(), 1 << bit, "{kind}");
        }
        assert_eq!(EventKinds::from_u8_truncated(0b101_0001).len(), 3);
        assert_eq!(EventKinds::from_u8_truncated(255), EventKinds::all());
        assert_eq!(STATE_EVENTS.as_u8(), 0b1_1100);
    }
}
