//! Doing something to many vehicles: a few at a time, so that what they and others say meanwhile does not
//! wait behind all of them.

use std::time::Duration;

/// Vehicles that one write of the cluster or of maintenance touches at most, so that reports never wait long.
pub(crate) const DEVICES_PER_WRITE: usize = 500;
/// The pause between a few and the next few.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// Vehicles a tick at least: a thousand a second.
const FEWEST_A_TICK: usize = 10;

/// How many to take a tick, for all of them to have had their turn within `time`.
pub(crate) fn a_tick(vehicles: usize, time: Duration) -> usize {
    let ticks = time.as_millis() / TICK.as_millis();
    let ticks = usize::try_from(ticks).unwrap_or(usize::MAX).max(1);
    vehicles.div_ceil(ticks).max(FEWEST_A_TICK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_have_their_turn_within_the_time_or_a_thousand_a_second_do() {
        assert_eq!(a_tick(0, Duration::from_secs(1)), FEWEST_A_TICK);
        assert_eq!(a_tick(1_000, Duration::from_secs(5)), FEWEST_A_TICK);
        assert_eq!(a_tick(18_000, Duration::from_millis(500)), 360);
        assert_eq!(a_tick(18_000, Duration::ZERO), 18_000);
    }
}
