//! What webhooks tell: that something became of a vehicle.

use std::{fmt, str::FromStr};

use bytes::Bytes;

use super::{Command, DisconnectReason, Timestamp, UnknownName, Vehicle};

/// What an endpoint can ask to be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// Every kind, in the order above.
    pub const ALL: [Self; 7] = [
        Self::Online,
        Self::Offline,
        Self::Position,
        Self::Battery,
        Self::Running,
        Self::DebugBlob,
        Self::Command,
    ];

    /// The kind as settings and REST spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::Offline => "offline",
            Self::Position => "position",
            Self::Battery => "battery",
            Self::Running => "running",
            Self::DebugBlob => "debug-blob",
            Self::Command => "command",
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for EventKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, UnknownName> {
        let mut kinds = Self::ALL.into_iter();
        kinds.find(|kind| kind.as_str() == text).ok_or(UnknownName)
    }
}

/// A set of [`EventKind`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct EventKinds(u8);

impl EventKinds {
    /// No kind.
    pub const NONE: Self = Self(0);
    /// Those that a report can tell.
    pub const STATE: Self =
        Self::of(&[EventKind::Position, EventKind::Battery, EventKind::Running]);

    /// These kinds.
    #[must_use]
    pub const fn of(kinds: &[EventKind]) -> Self {
        let (mut bits, mut index) = (0, 0);
        while index < kinds.len() {
            bits |= 1 << kinds[index] as u8;
            index += 1;
        }
        Self(bits)
    }

    /// The set with these bits, one for each kind in its order; others are ignored.
    #[must_use]
    pub fn from_bits(bits: u8) -> Self {
        Self(bits) & Self::of(&EventKind::ALL)
    }

    /// One bit for each kind, in its order.
    #[must_use]
    pub fn bits(self) -> u8 {
        self.0
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether it is one of them.
    #[must_use]
    pub fn contains(self, kind: EventKind) -> bool {
        !(self & Self::of(&[kind])).is_empty()
    }

    /// The kinds, in their order.
    pub fn iter(self) -> impl Iterator<Item = EventKind> {
        EventKind::ALL
            .into_iter()
            .filter(move |kind| self.contains(*kind))
    }
}

impl std::ops::BitAnd for EventKinds {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }
}

impl std::ops::BitOr for EventKinds {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl FromIterator<EventKind> for EventKinds {
    fn from_iter<I: IntoIterator<Item = EventKind>>(kinds: I) -> Self {
        kinds
            .into_iter()
            .fold(Self::NONE, |set, kind| set | Self::of(&[kind]))
    }
}

/// Something that became of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// The vehicle after it.
    pub vehicle: Vehicle,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: Occurrence,
}

/// What became of a vehicle.
#[derive(Debug, Clone, PartialEq)]
pub enum Occurrence {
    /// It came online.
    Online,
    /// It went offline, for this reason.
    Offline(DisconnectReason),
    /// A report or an answer changed these of its state.
    Updated(EventKinds),
    /// It sent a crash dump.
    DebugBlob {
        /// The dump's id.
        id: i64,
        /// Its bytes.
        content: Bytes,
    },
    /// A command came to its end.
    Command(Box<Command>),
}

impl Occurrence {
    /// The kinds of events that it is: more than one if a report changed several things.
    #[must_use]
    pub fn kinds(&self) -> EventKinds {
        match self {
            Self::Online => EventKinds::of(&[EventKind::Online]),
            Self::Offline(_) => EventKinds::of(&[EventKind::Offline]),
            Self::Updated(changed) => *changed,
            Self::DebugBlob { .. } => EventKinds::of(&[EventKind::DebugBlob]),
            Self::Command(_) => EventKinds::of(&[EventKind::Command]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_kinds_are_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse::<EventKind>().unwrap(), kind);
        }
        assert!("blob".parse::<EventKind>().is_err());
    }

    #[test]
    fn a_set_holds_what_was_put_in_and_goes_through_bits() {
        let some = [EventKind::Online, EventKind::Running, EventKind::Command];
        let set: EventKinds = some.into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), some);
        assert!(set.contains(EventKind::Running) && !set.contains(EventKind::Battery));
        assert_eq!(EventKinds::from_bits(set.bits()), set);
        assert_eq!(EventKinds::from_bits(255).iter().count(), 7);
        let running = EventKinds::of(&[EventKind::Running]);
        assert_eq!(set & EventKinds::STATE, running);
        assert_eq!(set | EventKinds::NONE, set);
        assert!((running & EventKinds::of(&[EventKind::Battery])).is_empty());
    }
}
