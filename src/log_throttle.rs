//! Keeps a log line that anybody outside can cause, or that an outage causes for each vehicle or request, from filling
//! the log: such lines are rare, and carry the number of occurrences.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Admits some log lines in each interval, and counts the occurrences that have none. Their number goes to the next
/// admitted line, or to a line of its own ([`write_due`]), so the numbers of all lines add up to what happened.
///
/// A throttle is a static: the log belongs to the process, and so does what keeps it short.
#[derive(Debug)]
pub(crate) struct LogThrottle {
    interval: Duration,
    /// Lines that are admitted in an interval.
    lines: u32,
    /// Writes a line with the number of occurrences that had none.
    write_rest: fn(u64),
    state: Mutex<ThrottleState>,
}

#[derive(Debug)]
struct ThrottleState {
    /// When the first line of this interval was admitted.
    began: Option<Instant>,
    /// Lines that were admitted in this interval.
    admitted: u32,
    /// Occurrences since the last line.
    suppressed: u64,
    /// Whether the throttle is in [`WITH_REST`].
    is_listed: bool,
}

/// The throttles that have counted occurrences without a line.
static WITH_REST: Mutex<Vec<&LogThrottle>> = Mutex::new(Vec::new());

impl LogThrottle {
    /// Admits one line in `interval`, the first at once. `write_rest` logs the occurrences that have no line once the
    /// interval is over without another one.
    #[must_use]
    pub(crate) const fn every(interval: Duration, write_rest: fn(u64)) -> Self {
        Self::lines_in(1, interval, write_rest)
    }

    /// Admits so many lines in `interval`, one for each of the first occurrences: for lines that name something, of
    /// which an installation has a few.
    #[must_use]
    pub(crate) const fn lines_in(lines: u32, interval: Duration, write_rest: fn(u64)) -> Self {
        Self {
            interval,
            lines,
            write_rest,
            state: Mutex::new(ThrottleState {
                began: None,
                admitted: 0,
                suppressed: 0,
                is_listed: false,
            }),
        }
    }

    /// Counts one occurrence. Returns the number of occurrences since the last line, this one included, if a line is to
    /// be written now.
    pub(crate) fn admit(&'static self) -> Option<u64> {
        self.admit_many(1)
    }

    /// Like [`Self::admit`], for so many occurrences at once.
    pub(crate) fn admit_many(&'static self, occurrences: u64) -> Option<u64> {
        let mut state = self.lock();
        state.suppressed += occurrences;
        if state.is_over(self.interval) {
            state.began = Some(Instant::now());
            state.admitted = 0;
        }
        if state.admitted < self.lines {
            state.admitted += 1;
            return Some(std::mem::take(&mut state.suppressed));
        }
        let is_listed = std::mem::replace(&mut state.is_listed, true);
        drop(state);
        if !is_listed {
            lock_list().push(self);
        }
        None
    }

    /// Logs the occurrences that have no line now, as at the end of what caused them.
    pub(crate) fn write_rest(&self) {
        self.write_rest_if(|_| true);
    }

    /// Logs the occurrences that have no line, if `is_due`. Returns whether some are left.
    fn write_rest_if(&self, is_due: impl FnOnce(&ThrottleState) -> bool) -> bool {
        let mut state = self.lock();
        if state.suppressed > 0 && !is_due(&state) {
            return true;
        }
        let rest = std::mem::take(&mut state.suppressed);
        if rest > 0 {
            state.began = Some(Instant::now());
            state.admitted = 1;
        }
        drop(state);
        if rest > 0 {
            (self.write_rest)(rest);
        }
        false
    }

    fn lock(&self) -> MutexGuard<'_, ThrottleState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ThrottleState {
    fn is_over(&self, interval: Duration) -> bool {
        self.began.is_none_or(|began| began.elapsed() >= interval)
    }
}

fn lock_list() -> MutexGuard<'static, Vec<&'static LogThrottle>> {
    WITH_REST.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Logs the occurrences without a line of each throttle whose interval is over. To be called about once a second.
pub(crate) fn write_due() {
    write_rests(|throttle, state| state.is_over(throttle.interval));
}

/// Logs the occurrences without a line of all throttles, as at the end of the process.
pub(crate) fn write_all() {
    write_rests(|_, _| true);
}

fn write_rests(is_due: impl Fn(&LogThrottle, &ThrottleState) -> bool) {
    let mut listed = std::mem::take(&mut *lock_list());
    listed.retain(|throttle| {
        let is_left = throttle.write_rest_if(|state| is_due(throttle, state));
        is_left || {
            // An occurrence may have come since: then it stays in the list.
            let mut state = throttle.lock();
            state.is_listed = state.suppressed > 0;
            state.is_listed
        }
    });
    lock_list().append(&mut listed);
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use tokio::time::advance;

    use super::*;

    const INTERVAL: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn the_first_is_admitted_at_once_and_later_ones_together() {
        static THROTTLE: LogThrottle = LogThrottle::every(INTERVAL, |_| {});
        assert_eq!(THROTTLE.admit(), Some(1));
        advance(Duration::from_millis(9_999)).await;
        assert_eq!(THROTTLE.admit(), None);
        assert_eq!(THROTTLE.admit_many(2), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!(THROTTLE.admit(), Some(4));
        assert_eq!(THROTTLE.admit(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn several_lines_are_admitted_in_each_interval() {
        static THROTTLE: LogThrottle = LogThrottle::lines_in(2, INTERVAL, |_| {});
        for count in [Some(1), Some(1), None, None] {
            assert_eq!(THROTTLE.admit(), count);
        }
        advance(INTERVAL).await;
        for count in [Some(3), Some(1), None] {
            assert_eq!(THROTTLE.admit(), count);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_no_line_gets_one_when_the_interval_is_over() {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        static THROTTLE: LogThrottle = LogThrottle::every(INTERVAL, |rest| {
            WRITTEN.fetch_add(rest, Relaxed);
        });
        let due = || {
            write_due();
            WRITTEN.swap(0, Relaxed)
        };
        assert_eq!(THROTTLE.admit(), Some(1));
        advance(INTERVAL).await;
        assert_eq!(due(), 0, "there is no rest");
        assert_eq!(THROTTLE.admit(), Some(1));
        for _ in 0..5 {
            assert_eq!(THROTTLE.admit(), None);
        }
        advance(Duration::from_millis(9_999)).await;
        assert_eq!(due(), 0, "the interval is not over");
        advance(Duration::from_millis(1)).await;
        assert_eq!(due(), 5);
        assert_eq!(due(), 0);
        // The line of the rest counts as the one of its interval.
        assert_eq!(THROTTLE.admit(), None);
        advance(INTERVAL).await;
        assert_eq!(due(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn at_the_end_everything_gets_a_line() {
        static WRITTEN: AtomicU64 = AtomicU64::new(0);
        static THROTTLE: LogThrottle = LogThrottle::every(INTERVAL, |rest| {
            WRITTEN.fetch_add(rest, Relaxed);
        });
        let admit_three = || (0..3).filter_map(|_| THROTTLE.admit()).sum::<u64>();
        assert_eq!(admit_three(), 1);
        write_all();
        assert_eq!(WRITTEN.swap(0, Relaxed), 2);
        assert_eq!(admit_three(), 0);
        THROTTLE.write_rest();
        assert_eq!(WRITTEN.swap(0, Relaxed), 3);
        write_all();
        assert_eq!(WRITTEN.load(Relaxed), 0);
    }
}
