//! Waiting for a condition.

use std::time::{Duration, Instant};

/// The time after which a wait fails its test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Calls `ask` until it returns something. `ask` paces the loop: it is a request or a query.
#[track_caller]
pub(crate) fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            started.elapsed() < PATIENCE,
            "not within {PATIENCE:?}: {what}"
        );
        std::thread::yield_now();
    }
}
