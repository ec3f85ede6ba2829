//! How long to wait before the next attempt to connect.

use std::time::Duration;

use fastrand::Rng;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(30);

/// 1 s, doubled with each attempt up to 30 s, and of that a random half to whole: a fleet that
/// lost its gateway at one instant must not come back at one instant.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// The next pause.
    pub(super) fn pause(&mut self, rng: &mut Rng) -> Duration {
        let pause = self.next.mul_f64(0.5 + rng.f64() / 2.0);
        self.next = (self.next * 2).min(LONGEST);
        pause
    }
}

#[cfg(test)]
mod tests {
    use super::{Backoff, Duration, Rng};
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn pauses_double_from_half_a_second_or_more_and_end_at_thirty(seed in any::<u64>()) {
            let mut rng = Rng::with_seed(seed);
            let mut backoff = Backoff::default();
            for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
                let full = Duration::from_secs(seconds);
                let pause = backoff.pause(&mut rng);
                prop_assert!(full / 2 <= pause && pause <= full);
            }
        }
    }
}
