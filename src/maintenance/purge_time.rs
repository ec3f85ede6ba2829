//! The time by which rows are past their retention.

use std::time::{Duration, Instant};

use crate::{
    domain::Timestamp,
    steady_time::{Reading, SteadyTime},
};

/// How long the clock must stay as it is after a jump until rows are deleted by it: so long may an operator take to
/// notice.
const PATIENCE: Duration = Duration::from_hours(1);

/// The time by which rows are past their retention: by two readings of the clock or more, and not by a clock that has
/// jumped within the last hour. What is deleted too early is lost; what is deleted too late is not.
#[derive(Debug, Default)]
pub(super) struct PurgeTime(Option<(Instant, SteadyTime)>);

impl PurgeTime {
    /// Takes a reading of the clock. Returns the time by which rows may be deleted now; `None` if this is the first
    /// reading.
    pub(super) fn read(&mut self, now: Timestamp) -> Option<Timestamp> {
        let Some((began, time)) = &mut self.0 else {
            self.0 = Some((Instant::now(), SteadyTime::new(now, PATIENCE)));
            return None;
        };
        let age = began.elapsed();
        if let Reading::Jumped(jump_ms) = time.read(now, age) {
            tracing::warn!(
                jump_ms,
                "the clock has jumped; rows are deleted by it once it has stayed so for an hour"
            );
        }
        Some(time.at(age))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_deleted_from_the_second_reading_on_and_not_by_a_clock_that_jumped() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let mut time = PurgeTime::default();
        assert_eq!(time.read(now), None);
        let second = time.read(now).unwrap();
        assert!(second.since(now) < Duration::from_mins(1));
        let jumped = time
            .read(now.after(Duration::from_hours(100 * 24)))
            .unwrap();
        assert!(jumped.since(now) < Duration::from_mins(1));
        let back = time.read(now.before(Duration::from_hours(1))).unwrap();
        assert!(back.since(now) < Duration::from_mins(1));
    }
}
