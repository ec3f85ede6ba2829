//! Whether the database commits, as the writer last saw it.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;

/// How long a request may wait for its commit before the database counts as one that cannot commit, whatever the cause:
/// a row that an operator's transaction has locked, a server that does not answer, a network that loses what is sent.
const STALLED_AFTER: Duration = Duration::from_secs(5);
/// How often [`log_stalls`] looks.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Whether the database commits. Written by the writer task alone.
#[derive(Debug, Clone)]
pub(super) struct CommitHealth(Arc<Commits>);

#[derive(Debug)]
struct Commits {
    origin: Instant,
    /// Milliseconds from `origin` to the last commit.
    last: AtomicU64,
    failing: AtomicBool,
    /// The last failure, for people.
    failure: Mutex<String>,
    /// Since when the oldest request waits for its commit, in milliseconds from `origin`; `u64::MAX` if none waits.
    waiting_since: AtomicU64,
}

/// Why the database does not commit, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommitProblem {
    /// The last attempt failed.
    #[error("the database cannot commit: {0}")]
    Failing(String),
    /// A request has waited for its commit for so many seconds, and no attempt has failed.
    #[error(
        "a write has waited for its commit for {0} s: another transaction may have locked its rows, or the database is slow"
    )]
    Stalled(u64),
}

impl CommitHealth {
    pub(super) fn new() -> Self {
        Self(Arc::new(Commits {
            origin: Instant::now(),
            last: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            failure: Mutex::default(),
            waiting_since: AtomicU64::new(u64::MAX),
        }))
    }

    /// Whether the last attempt to commit succeeded.
    pub(super) fn is_good(&self) -> bool {
        !self.0.failing.load(Ordering::Relaxed)
    }

    /// Why nothing is committed that somebody waits for, if so.
    pub(super) fn problem(&self) -> Option<CommitProblem> {
        if !self.is_good() {
            let failure = self
                .0
                .failure
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            return Some(CommitProblem::Failing(failure.clone()));
        }
        let since = self.0.waiting_since.load(Ordering::Relaxed);
        let waiting = Duration::from_millis(self.now().checked_sub(since)?);
        (waiting > STALLED_AFTER).then_some(CommitProblem::Stalled(waiting.as_secs()))
    }

    /// How long ago the last commit was.
    pub(super) fn since_commit(&self) -> Duration {
        let last = self.0.last.load(Ordering::Relaxed);
        Duration::from_millis(self.now().saturating_sub(last))
    }

    /// Notes a commit; true if the attempt before it failed.
    pub(super) fn committed(&self) -> bool {
        self.0.last.store(self.now(), Ordering::Relaxed);
        self.0.failing.swap(false, Ordering::Relaxed)
    }

    /// Notes a failure.
    pub(super) fn failed(&self, failure: String) {
        *self
            .0
            .failure
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = failure;
        self.0.failing.store(true, Ordering::Relaxed);
    }

    /// Notes since when the oldest request waits for its commit; `None` if none waits.
    pub(super) fn set_waiting_since(&self, since: Option<Instant>) {
        let since = since.map_or(u64::MAX, |since| {
            millis(since.saturating_duration_since(self.0.origin))
        });
        self.0.waiting_since.store(since, Ordering::Relaxed);
    }

    fn now(&self) -> u64 {
        millis(self.0.origin.elapsed())
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// Logs when requests begin to wait for long without a failed attempt, which the writer logs itself, and when they no
/// longer do. Ends with `closing`.
pub(super) async fn log_stalls(health: CommitHealth, closing: CancellationToken) {
    let mut checks = interval(CHECK_INTERVAL);
    let mut was_stalled = false;
    while closing.run_until_cancelled(checks.tick()).await.is_some() {
        let problem = health.problem();
        let is_stalled = matches!(problem, Some(CommitProblem::Stalled(_)));
        if let Some(problem) = problem.filter(|_| is_stalled && !was_stalled) {
            tracing::error!(%problem, "a write has waited for its commit for long: not ready until it is committed");
        } else if was_stalled && !is_stalled {
            tracing::info!("no write waits for its commit for long any more");
        }
        was_stalled = is_stalled;
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_request_that_waits_for_long_is_a_problem_until_it_is_committed() {
        let health = CommitHealth::new();
        health.set_waiting_since(Some(Instant::now()));
        advance(STALLED_AFTER).await;
        assert_eq!(health.problem(), None);
        advance(Duration::from_secs(1)).await;
        assert_eq!(health.problem(), Some(CommitProblem::Stalled(6)));
        health.set_waiting_since(None);
        assert_eq!(health.problem(), None);
    }

    #[test]
    fn a_failure_is_a_problem_until_the_next_commit() {
        let health = CommitHealth::new();
        health.failed("disk full".to_owned());
        let problem = health.problem().unwrap().to_string();
        assert_eq!(problem, "the database cannot commit: disk full");
        assert!(health.committed());
        assert_eq!(health.problem(), None);
    }
}
