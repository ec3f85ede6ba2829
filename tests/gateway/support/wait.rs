//! Waiting for something to become true.

use std::time::{Duration, Instant};

/// How long anything may take before a test fails. Never waited for when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until the answer is there; asking (a request, a query) is what paces the loop.
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
