//! Why a session ended.

use std::{fmt, str::FromStr};

/// Why a session ended: logged once when it happens and stored with the vehicle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisconnectReason {
    /// The vehicle said `GOTTA GO.`
    Goodbye,
    /// The vehicle closed its connection without a word.
    ConnectionClosed,
    /// The connection broke: reset, unreachable, timed out below us.
    ConnectionLost,
    /// Nothing understood came for `device.silence_timeout`.
    Silent,
    /// No login came within `device.login_timeout`.
    LoginTimeout,
    /// The same vehicle logged in again elsewhere.
    Superseded,
    /// The vehicle was deleted over REST.
    Deleted,
    /// An operator asked for it over REST.
    Operator,
    /// The gateway is shutting down.
    Shutdown,
    /// The process that held the session ended without storing its end.
    InstanceLost,
    /// The store could not commit in time.
    StoreUnavailable,
    /// Too many bad sentences in a row.
    TooManyBadSentences,
    /// A debug blob or JSON object above its cap.
    TooLarge,
    /// The device did not take what the gateway wrote within `device.write_timeout`.
    SlowReader,
    /// The gateway holds as many connections or as many buffered bytes as it may.
    OverCapacity,
}

/// Text that names no [`DisconnectReason`].
#[derive(Debug, thiserror::Error)]
#[error("unknown disconnect reason")]
pub struct UnknownDisconnectReason;

impl DisconnectReason {
    /// Every reason, in the order above.
    pub const ALL: [Self; 15] = [
        Self::Goodbye,
        Self::ConnectionClosed,
        Self::ConnectionLost,
        Self::Silent,
        Self::LoginTimeout,
        Self::Superseded,
        Self::Deleted,
        Self::Operator,
        Self::Shutdown,
        Self::InstanceLost,
        Self::StoreUnavailable,
        Self::TooManyBadSentences,
        Self::TooLarge,
        Self::SlowReader,
        Self::OverCapacity,
    ];

    /// The reason as logs, database and REST spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Goodbye => "goodbye",
            Self::ConnectionClosed => "connection-closed",
            Self::ConnectionLost => "connection-lost",
            Self::Silent => "silent",
            Self::LoginTimeout => "login-timeout",
            Self::Superseded => "superseded",
            Self::Deleted => "deleted",
            Self::Operator => "operator",
            Self::Shutdown => "shutdown",
            Self::InstanceLost => "instance-lost",
            Self::StoreUnavailable => "store-unavailable",
            Self::TooManyBadSentences => "too-many-bad-sentences",
            Self::TooLarge => "too-large",
            Self::SlowReader => "slow-reader",
            Self::OverCapacity => "over-capacity",
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for DisconnectReason {
    type Err = UnknownDisconnectReason;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|reason| reason.as_str() == text)
            .ok_or(UnknownDisconnectReason)
    }
}
