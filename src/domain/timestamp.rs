//! Timestamps as the gateway stores and shows them.

use std::{fmt, time::Duration};

/// An instant in UTC with a resolution of one millisecond, which is what the database keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// How far the clocks of two instances may be apart: each follows a jump of the database's clock by up to so much at
/// once, but not at the same moment.
pub const CLOCK_TOLERANCE: Duration = Duration::from_mins(1);

impl Timestamp {
    /// The wall clock of this host, in UTC.
    ///
    /// With a database in a file it stamps what is stored, and so decides when a command expires, when a webhook
    /// message is due and when a row is old enough to be removed. With a database on a server the store uses that
    /// server's clock instead. The deadlines of connections and of the failure detector use monotonic clocks only.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// From milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0
    }

    /// The instant `time` later.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let time = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(time))
    }

    /// The furthest ahead that another instance may have set a time which may be `limit` ahead. A time beyond it was set
    /// by a clock that was set back since.
    #[must_use]
    pub fn furthest_ahead(self, limit: Duration) -> Self {
        self.after(limit.saturating_add(CLOCK_TOLERANCE))
    }

    /// The time since `earlier`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let millis = self.0.saturating_sub(earlier.0);
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    /// The instant `age` earlier, but not before 1970.
    #[must_use]
    pub fn before(self, age: Duration) -> Self {
        let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(age).max(0))
    }
}

/// RFC 3339 in UTC, with milliseconds.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(timestamp) => write!(f, "{timestamp:.3}"),
            Err(_) => write!(f, "{} ms since 1970", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timestamp_is_shown_as_rfc_3339_with_milliseconds() {
        let timestamp = Timestamp::from_millis(1_795_402_499_050);
        assert_eq!(timestamp.to_string(), "2026-11-23T02:54:59.050Z");
    }
}
