//! States of webhook messages, outcomes of the attempts to send them, and reasons to disable an endpoint.

use std::time::Duration;

use strum::{EnumString, FromRepr, IntoStaticStr, VariantNames};

/// State of a webhook message. Its text is its name in REST.
///
/// The position of a state is its number in the database, so new states are added at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, FromRepr, IntoStaticStr, VariantNames)]
#[repr(i16)]
#[strum(serialize_all = "kebab-case")]
pub enum MessageState {
    /// It is still to be delivered.
    Pending,
    /// Its endpoint has acknowledged it.
    Delivered,
    /// It was given up after its last attempt.
    Failed,
}

impl MessageState {
    /// The state's name in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Outcome of an attempt to send a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptOutcome {
    /// The endpoint acknowledged the message (2xx).
    Delivered,
    /// The endpoint wants no messages any more (410).
    Gone,
    /// The endpoint did not answer, or answered with another status.
    Failed {
        /// What has to change before a further attempt can succeed.
        cause: FailureCause,
        /// The pause that the endpoint asked for (429 and 503), at most a day.
        retry_after: Option<Duration>,
    },
}

impl AttemptOutcome {
    /// Whether the message has to be sent again, or given up.
    #[must_use]
    pub fn is_failure(&self) -> bool {
        matches!(self, Self::Failed { .. })
    }
}

/// Cause of a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureCause {
    /// The endpoint: an attempt to send it any other message would fail as well.
    Endpoint,
    /// The message, as far as the response tells: attempts to send other messages to the endpoint may succeed.
    Message,
}

/// Reason why an endpoint is disabled. Its text is its name in the database and in REST.
#[derive(Debug, Clone, Copy, PartialEq, Eq, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum DisabledReason {
    /// An operator disabled the endpoint.
    Operator,
    /// The endpoint answered 410.
    Gone,
    /// Attempts to send to the endpoint failed for too long.
    Failing,
}

impl DisabledReason {
    /// The reason's name in the database and in REST.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
