//! Paused time beside a real database.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use tokio::{
    task::spawn_blocking,
    time::{Instant, advance},
};

use crate::domain::Timestamp;

/// While the database works, the clock advances by [`STEP`] in each of these real intervals, for the sake of the
/// writer, which makes pauses of milliseconds.
const REAL_STEP: Duration = Duration::from_millis(5);
const STEP: Duration = Duration::from_millis(1);
/// The most that the clock advances while it is held, however long a busy machine takes: no deadline of seconds passes.
const LONGEST_ADVANCE: Duration = Duration::from_millis(300);

/// The clock of all instances of a test, which follows tokio's paused time.
///
/// Paused, tokio advances its clock to the next timer as soon as no task can run. A task that waits for the database,
/// which works on threads of its own, would lose every race against a deadline. So the clock is held while the database
/// works: tokio does not advance it to the next timer while a blocking task runs.
#[derive(Debug, Clone)]
pub(in crate::commands) struct VirtualTime {
    origin: Instant,
    at_origin: Timestamp,
    holders: Arc<AtomicUsize>,
    /// Whether the task runs that advances the clock for all holders.
    is_ticking: Arc<AtomicBool>,
}

/// Holds the clock until it is dropped.
pub(in crate::commands) struct HeldClock {
    holders: Arc<AtomicUsize>,
}

impl VirtualTime {
    /// A clock that starts now.
    pub(super) fn start() -> Self {
        Self {
            origin: Instant::now(),
            at_origin: Timestamp::now(),
            holders: Arc::default(),
            is_ticking: Arc::default(),
        }
    }

    /// The time by this clock.
    pub(in crate::commands) fn now(&self) -> Timestamp {
        self.at_origin.after(self.origin.elapsed())
    }

    /// Holds the clock until the result is dropped.
    pub(in crate::commands) fn hold(&self) -> HeldClock {
        self.holders.fetch_add(1, Ordering::Relaxed);
        if !self.is_ticking.swap(true, Ordering::Relaxed) {
            tokio::spawn(self.clone().tick());
        }
        HeldClock {
            holders: Arc::clone(&self.holders),
        }
    }

    async fn tick(self) {
        let mut advanced = Duration::ZERO;
        while self.holders.load(Ordering::Relaxed) > 0 {
            spawn_blocking(|| thread::sleep(REAL_STEP)).await.unwrap();
            if advanced < LONGEST_ADVANCE {
                advance(STEP).await;
                advanced += STEP;
            }
        }
        self.is_ticking.store(false, Ordering::Relaxed);
    }

    /// Awaits work of the database while the clock is held.
    pub(super) async fn work<T>(&self, work: impl Future<Output = T>) -> T {
        let _held = self.hold();
        work.await
    }
}

impl Drop for HeldClock {
    fn drop(&mut self) {
        self.holders.fetch_sub(1, Ordering::Relaxed);
    }
}
