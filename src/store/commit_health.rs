//! Whether the database commits, as the writer last saw it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// Whether the database commits. Written by the writer task alone.
#[derive(Debug, Clone)]
pub(super) struct CommitHealth(Arc<Commits>);

#[derive(Debug)]
struct Commits {
    origin: Instant,
    /// Milliseconds from `origin` to the last commit.
    last: AtomicU64,
    failing: AtomicBool,
}

impl CommitHealth {
    pub(super) fn new() -> Self {
        Self(Arc::new(Commits {
            origin: Instant::now(),
            last: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        }))
    }

    /// Whether the last attempt to commit succeeded.
    pub(super) fn is_good(&self) -> bool {
        !self.0.failing.load(Ordering::Relaxed)
    }

    /// How long ago the last commit was.
    pub(super) fn since_commit(&self) -> Duration {
        let last = Duration::from_millis(self.0.last.load(Ordering::Relaxed));
        self.0.origin.elapsed().saturating_sub(last)
    }

    /// Notes a commit; true if the attempt before it failed.
    pub(super) fn committed(&self) -> bool {
        let now = u64::try_from(self.0.origin.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.0.last.store(now, Ordering::Relaxed);
        self.0.failing.swap(false, Ordering::Relaxed)
    }

    /// Notes a failure; true if the attempt before it succeeded.
    pub(super) fn failed(&self) -> bool {
        !self.0.failing.swap(true, Ordering::Relaxed)
    }
}
