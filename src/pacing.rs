//! Pacing of work on many vehicles: in batches with pauses, so that other work does not wait behind all of it.

use std::time::Duration;

/// The most vehicles that a write request of background work touches, so that reports do not wait long behind it.
pub(crate) const DEVICES_PER_WRITE: usize = 500;
/// The pause between two batches.
pub(crate) const TICK: Duration = Duration::from_millis(10);
/// The smallest batch. One in every [`TICK`] makes a thousand vehicles a second.
const SMALLEST_BATCH: usize = 10;

/// The size of the batches in which `vehicles` are processed within `time`, one batch a [`TICK`].
pub(crate) fn batch_size(vehicles: usize, time: Duration) -> usize {
    let ticks = time.as_millis() / TICK.as_millis();
    let ticks = usize::try_from(ticks).unwrap_or(usize::MAX).max(1);
    vehicles.div_ceil(ticks).max(SMALLEST_BATCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_are_processed_in_time_at_a_thousand_a_second_or_more() {
        assert_eq!(batch_size(0, Duration::from_secs(1)), SMALLEST_BATCH);
        assert_eq!(batch_size(1_000, Duration::from_secs(5)), SMALLEST_BATCH);
        assert_eq!(batch_size(18_000, Duration::from_millis(500)), 360);
        assert_eq!(batch_size(18_000, Duration::ZERO), 18_000);
    }
}
