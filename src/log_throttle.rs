//! Keeps a log line that anybody outside can cause from filling the log.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Admits one log line in each interval, and counts the occurrences that it leaves out.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    interval: Duration,
    state: Mutex<ThrottleState>,
}

#[derive(Debug, Default)]
struct ThrottleState {
    /// Occurrences since the last admitted line.
    suppressed: u64,
    admitted: Option<Instant>,
}

impl LogThrottle {
    /// Admits one line in `interval`, the first at once.
    #[must_use]
    pub(crate) fn every(interval: Duration) -> Self {
        Self {
            interval,
            state: Mutex::default(),
        }
    }

    /// Admits the first line only.
    #[must_use]
    pub(crate) fn once() -> Self {
        Self::every(Duration::MAX)
    }

    /// Counts one occurrence. Returns the number of occurrences since the last admitted line, this one included, if a
    /// line is to be written now.
    pub(crate) fn admit(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.suppressed += 1;
        let is_recent = |admitted: Instant| admitted.elapsed() < self.interval;
        if state.admitted.is_some_and(is_recent) {
            return None;
        }
        state.admitted = Some(Instant::now());
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_is_admitted_at_once_and_later_ones_together() {
        let interval = Duration::from_secs(10);
        let throttle = LogThrottle::every(interval);
        assert_eq!(throttle.admit(), Some(1));
        advance(Duration::from_millis(9_999)).await;
        assert_eq!(throttle.admit(), None);
        assert_eq!(throttle.admit(), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(throttle.admit(), Some(3));
        assert_eq!(throttle.admit(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn once_admits_only_the_first() {
        let throttle = LogThrottle::once();
        assert_eq!(throttle.admit(), Some(1));
        advance(Duration::from_hours(24 * 365)).await;
        assert_eq!(throttle.admit(), None);
    }
}
