//! Backlog of a webhook endpoint: whether each change of a vehicle's state becomes a message to it.
//!
//! Storing a message for each change costs as much for an endpoint that is away as for one that works, and a receiver
//! that comes back after hours would get hours of positions. So an endpoint that has failed for a while is *behind*:
//! changes of vehicles' state are not stored for it any more. Once it works again, it *catches up*: one message for
//! each vehicle that changed meanwhile, with the vehicle as it is then. All other events are stored all the time.

use std::time::Duration;

use super::CircuitBreaker;
use crate::domain::Timestamp;

/// Whether state changes are stored for an endpoint.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Since when some changes are not stored and not reported; `None` if there are none.
    pub behind_since: Option<Timestamp>,
    /// Set once changes are stored again: when it may be told of those since `behind_since`.
    pub catch_up_at: Option<Timestamp>,
}

impl Backlog {
    /// Whether state changes are not stored.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.behind_since.is_some() && self.catch_up_at.is_none()
    }

    /// Falls behind if the circuit is not closed and the endpoint has failed for at least `after`. Returns whether it
    /// was not behind before.
    pub(crate) fn fall_behind(
        &mut self,
        breaker: &CircuitBreaker,
        after: Duration,
        now: Timestamp,
    ) -> bool {
        if self.is_behind() || breaker.failures == 0 || !breaker.has_failed_for(after, now) {
            return false;
        }
        // If it has not caught up yet, the changes since the earlier time are still to be reported.
        self.behind_since.get_or_insert(now);
        self.catch_up_at = None;
        true
    }

    /// Stores changes again, and lets the endpoint catch up from `at` on. Returns whether it was behind.
    pub(crate) fn recover(&mut self, at: Timestamp) -> bool {
        let was_behind = self.is_behind();
        if was_behind {
            self.catch_up_at = Some(at);
        }
        was_behind
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn failing_since(millis: i64) -> CircuitBreaker {
        CircuitBreaker {
            failures: 1,
            failing_since: Some(at(millis)),
            paused_until: None,
        }
    }

    #[test]
    fn an_endpoint_falls_behind_once_it_has_failed_for_long_enough() {
        let mut backlog = Backlog::default();
        let breaker = failing_since(0);
        assert!(!backlog.fall_behind(&breaker, MINUTE, at(59_999)));
        assert!(!backlog.is_behind());
        assert!(backlog.fall_behind(&breaker, MINUTE, at(60_000)));
        assert!(backlog.is_behind());
        assert!(!backlog.fall_behind(&breaker, MINUTE, at(61_000)));
        assert_eq!(backlog.behind_since, Some(at(60_000)));
    }

    #[test]
    fn failures_of_single_messages_leave_no_endpoint_behind() {
        let breaker = CircuitBreaker {
            failures: 0,
            ..failing_since(0)
        };
        assert!(!Backlog::default().fall_behind(&breaker, MINUTE, at(90_000)));
    }

    #[test]
    fn an_endpoint_that_fails_again_before_it_caught_up_keeps_its_time() {
        let mut backlog = Backlog::default();
        assert!(!backlog.recover(at(1)));
        assert!(backlog.fall_behind(&failing_since(0), MINUTE, at(60_000)));
        assert!(backlog.recover(at(70_000)));
        assert!(!backlog.is_behind());
        assert!(backlog.fall_behind(&failing_since(80_000), MINUTE, at(140_000)));
        assert_eq!(
            (backlog.behind_since, backlog.catch_up_at),
            (Some(at(60_000)), None)
        );
    }
}
