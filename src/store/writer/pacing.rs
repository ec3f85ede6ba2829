//! When a batch begins: at once while writes are few, a little later while several arrive within one commit's time.
//!
//! A commit costs the same for one report as for ten: a sync of the disk or round trips to a server, and threads that
//! wake up. While requests come alone, each is committed at once. Once batches hold several, they begin at least
//! [`INTERVAL`] apart, which at a thousand reports a second makes a third of the commits. Urgent requests (logins, ends
//! of sessions, commands) never wait.

use std::time::Duration;

use tokio::time::Instant;

/// The least time between the beginnings of two batches while requests come together.
const INTERVAL: Duration = Duration::from_millis(3);
/// Batches of one request in a row after which requests are taken to come alone.
const ALONE_AFTER: u8 = 8;

/// Decides how long a batch may gather.
#[derive(Debug, Default)]
pub(super) struct BatchPacing {
    /// When the last batch began.
    last: Option<Instant>,
    /// How many more batches in a row may hold a single request before requests are taken to come alone; 0 while they
    /// come alone.
    together: u8,
}

impl BatchPacing {
    /// Until when a batch without urgent requests may gather; `None`: it begins at once.
    pub(super) fn gather_until(&self, now: Instant) -> Option<Instant> {
        let until = self.last? + INTERVAL;
        (self.together > 0 && until > now).then_some(until)
    }

    /// Notes that a batch of so many requests begins.
    pub(super) fn begin(&mut self, now: Instant, requests: usize) {
        self.last = Some(now);
        self.together = if requests > 1 {
            ALONE_AFTER
        } else {
            self.together.saturating_sub(1)
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_comes_alone_never_waits() {
        let (mut pacing, now) = (BatchPacing::default(), Instant::now());
        for _ in 0..3 {
            assert_eq!(pacing.gather_until(now), None);
            pacing.begin(now, 1);
        }
    }

    #[test]
    fn requests_that_come_together_wait_at_most_one_interval() {
        let (mut pacing, now) = (BatchPacing::default(), Instant::now());
        pacing.begin(now, 2);
        assert_eq!(pacing.gather_until(now), Some(now + INTERVAL));
        assert_eq!(pacing.gather_until(now + INTERVAL), None);
    }

    #[test]
    fn some_lone_batches_in_a_row_end_the_waiting() {
        let (mut pacing, now) = (BatchPacing::default(), Instant::now());
        pacing.begin(now, 2);
        for _ in 0..ALONE_AFTER {
            assert!(pacing.gather_until(now).is_some());
            pacing.begin(now, 1);
        }
        assert_eq!(pacing.gather_until(now), None);
    }
}
