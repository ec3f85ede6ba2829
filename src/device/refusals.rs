//! A log throttle for refused connections: a refused peer reconnects at once, so only their number is logged.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// The interval between two log lines.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Counts refusals of one kind.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    since_log: u64,
    logged: Option<Instant>,
}

impl Refusals {
    /// Counts a refusal. Returns the number since the last log line if the next line is due.
    pub(super) fn count(&self) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since_log += 1;
        let recent = |logged: Instant| logged.elapsed() < LOG_INTERVAL;
        if counted.logged.is_some_and(recent) {
            return None;
        }
        counted.logged = Some(Instant::now());
        Some(std::mem::take(&mut counted.since_log))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_refusal_is_logged_at_once_and_later_ones_together() {
        let refusals = Refusals::default();
        assert_eq!(refusals.count(), Some(1));
        assert_eq!(refusals.count(), None);
        assert_eq!(refusals.count(), None);
        tokio::time::advance(LOG_INTERVAL).await;
        assert_eq!(refusals.count(), Some(3));
        assert_eq!(refusals.count(), None);
    }
}
