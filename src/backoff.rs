//! Exponential backoff: the growing pauses between attempts.

use std::time::Duration;

use fastrand::Rng;

/// Pauses that double from a first one up to a longest one.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `first` to `longest`.
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// The pause before the next attempt.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(self.longest);
        pause
    }

    /// The pause before the next attempt, shortened at random to at least half of it: so that peers that failed at the
    /// same instant do not try again at the same instant.
    pub(crate) fn next_pause_with_jitter(&mut self, rng: &mut Rng) -> Duration {
        self.next_pause().mul_f64(0.5 + rng.f64() / 2.0)
    }

    /// Begins with the first pause again, after a success.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop_assert, proptest};

    use super::*;

    const FIRST: Duration = Duration::from_secs(1);
    const LONGEST: Duration = Duration::from_secs(30);

    #[test]
    fn pauses_double_up_to_the_longest_and_begin_again_after_a_reset() {
        let mut backoff = Backoff::new(FIRST, LONGEST);
        for seconds in [1, 2, 4, 8, 16, 30, 30] {
            assert_eq!(backoff.next_pause(), Duration::from_secs(seconds));
        }
        backoff.reset();
        assert_eq!(backoff.next_pause(), FIRST);
    }

    proptest! {
        #[test]
        fn jitter_takes_at_most_half_of_a_pause(seed in any::<u64>()) {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::new(FIRST, LONGEST);
            for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
                let full = Duration::from_secs(seconds);
                let pause = backoff.next_pause_with_jitter(&mut rng);
                prop_assert!(full / 2 <= pause && pause <= full);
            }
        }
    }
}
