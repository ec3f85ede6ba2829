//! Tells a clock that was set from one that is wrong for a moment.

use std::time::Duration;

use crate::domain::{CLOCK_TOLERANCE, Timestamp};

/// The time by the readings of a clock that may jump: a jump of more than a minute is believed only once all readings
/// of a certain time agree with it. Until then the time goes on as it was.
///
/// Ages are measured by a monotonic clock, and are the time since this value was made.
#[derive(Debug)]
pub(crate) struct SteadyTime {
    /// The time at age zero, in milliseconds since 1970.
    origin: i64,
    patience: Duration,
    jump: Option<Jump>,
}

#[derive(Debug)]
struct Jump {
    origin: i64,
    /// The age at which it was first seen.
    seen_at: Duration,
}

/// What a reading says about the clock. Jumps are in milliseconds, negative if the clock was set back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reading {
    /// It is as expected.
    Expected,
    /// It has jumped, and is not believed yet.
    Jumped(i64),
    /// It has jumped before, and is not believed yet.
    StillJumped,
    /// It has stayed as it was after a jump for long enough, and is believed now.
    Believed(i64),
    /// It is as expected again after a jump that was not believed.
    Recovered,
}

impl SteadyTime {
    /// Begins with a reading. A later jump is believed after `patience`.
    pub(crate) fn new(reading: Timestamp, patience: Duration) -> Self {
        Self {
            origin: reading.as_millis(),
            patience,
            jump: None,
        }
    }

    /// The time at this age.
    pub(crate) fn at(&self, age: Duration) -> Timestamp {
        Timestamp::from_millis(self.origin.saturating_add(millis(age)))
    }

    /// Takes a reading that was made at this age.
    pub(crate) fn read(&mut self, reading: Timestamp, age: Duration) -> Reading {
        let origin = reading.as_millis().saturating_sub(millis(age));
        let difference = origin.saturating_sub(self.origin);
        if is_tolerated(difference) {
            self.origin = origin;
            return match self.jump.take() {
                None => Reading::Expected,
                Some(_) => Reading::Recovered,
            };
        }
        match &self.jump {
            Some(jump) if is_tolerated(origin.saturating_sub(jump.origin)) => {
                if age.saturating_sub(jump.seen_at) < self.patience {
                    return Reading::StillJumped;
                }
                self.origin = origin;
                self.jump = None;
                Reading::Believed(difference)
            }
            _ => {
                self.jump = Some(Jump {
                    origin,
                    seen_at: age,
                });
                Reading::Jumped(difference)
            }
        }
    }
}

/// Whether a clock is followed at once that differs by so many milliseconds from what was expected of it.
fn is_tolerated(difference: i64) -> bool {
    difference.saturating_abs() <= millis(CLOCK_TOLERANCE)
}

fn millis(age: Duration) -> i64 {
    i64::try_from(age.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + millis)
    }

    fn seconds(age: u64) -> Duration {
        Duration::from_secs(age)
    }

    fn time() -> SteadyTime {
        SteadyTime::new(at(0), seconds(60))
    }

    #[test]
    fn a_clock_that_drifts_is_followed() {
        let mut time = time();
        assert_eq!(time.read(at(30_000), seconds(10)), Reading::Expected);
        assert_eq!(time.at(seconds(11)), at(31_000));
        assert_eq!(time.read(at(11_000), seconds(12)), Reading::Expected);
        assert_eq!(time.at(seconds(12)), at(11_000));
    }

    #[test]
    fn a_short_jump_changes_nothing() {
        for jump in [100 * 24 * HOUR, -HOUR] {
            let mut time = time();
            assert_eq!(
                time.read(at(jump + 1_000), seconds(1)),
                Reading::Jumped(jump)
            );
            assert_eq!(
                time.read(at(jump + 4_000), seconds(4)),
                Reading::StillJumped
            );
            assert_eq!(time.at(seconds(4)), at(4_000));
            assert_eq!(time.read(at(5_000), seconds(5)), Reading::Recovered);
            // The next one is a new jump.
            assert_eq!(
                time.read(at(jump + 70_000), seconds(70)),
                Reading::Jumped(jump)
            );
        }
    }

    #[test]
    fn a_jump_that_lasts_is_believed() {
        for jump in [100 * 24 * HOUR, -HOUR] {
            let mut time = time();
            assert_eq!(time.read(at(jump), seconds(0)), Reading::Jumped(jump));
            assert_eq!(
                time.read(at(jump + 59_000), seconds(59)),
                Reading::StillJumped
            );
            assert_eq!(
                time.read(at(jump + 60_000), seconds(60)),
                Reading::Believed(jump)
            );
            assert_eq!(time.at(seconds(61)), at(jump + 61_000));
            assert_eq!(time.read(at(jump + 61_000), seconds(61)), Reading::Expected);
        }
    }

    #[test]
    fn a_clock_that_jumps_about_is_not_believed() {
        let mut time = time();
        for age in 0..600 {
            let jump = if age % 2 == 0 { HOUR } else { 2 * HOUR };
            let reading = at(jump + 1_000 * age);
            assert_eq!(
                time.read(reading, seconds(age.unsigned_abs())),
                Reading::Jumped(jump)
            );
        }
        assert_eq!(time.at(seconds(600)), at(600_000));
    }

    #[test]
    fn without_patience_a_jump_is_believed_when_it_is_seen_again() {
        let mut time = SteadyTime::new(at(0), Duration::ZERO);
        assert_eq!(time.read(at(HOUR), seconds(0)), Reading::Jumped(HOUR));
        assert_eq!(time.read(at(HOUR), seconds(0)), Reading::Believed(HOUR));
    }

    proptest! {
        #[test]
        fn any_readings_are_taken(readings in proptest::collection::vec((any::<i64>(), any::<u64>()), 0..20)) {
            let mut time = time();
            for (reading, age) in readings {
                let age = Duration::from_millis(age);
                time.read(Timestamp::from_millis(reading), age);
                time.at(age);
            }
        }
    }
}
