//! Circuit breaker of a webhook endpoint, driven by the outcomes of delivery attempts.
//!
//! *Closed*: as many messages may be in flight as the settings allow. A failure that is the endpoint's fault *opens*
//! the breaker: nothing is sent until its pause is over, 1 s at first and twice as long after each further failure, up
//! to 1 min, or as long as the endpoint asks for. Then it is *half-open*: one message probes the endpoint, and its
//! outcome closes the breaker or opens it again. A failure that is one message's fault does not open the breaker, but
//! an endpoint without any success for too long is disabled.

use std::time::Duration;

use super::retry::LONGEST_RETRY_AFTER;
use crate::domain::{AttemptOutcome, DisabledReason, FailureCause, Timestamp};

/// The pause after the first failure; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest pause that the breaker chooses by itself.
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// State of an endpoint's circuit breaker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CircuitBreaker {
    /// Consecutive failures of the endpoint. Those of messages that were in flight together count as one.
    pub failures: u32,
    /// Time of the first failure since the last success, whatever its cause.
    pub failing_since: Option<Timestamp>,
    /// The end of the last pause: the breaker is open until this time.
    pub paused_until: Option<Timestamp>,
}

impl CircuitBreaker {
    /// Whether nothing may be sent now.
    #[must_use]
    pub fn is_open(&self, now: Timestamp) -> bool {
        self.pause_until(now).is_some_and(|until| until > now)
    }

    /// The end of the last pause, unless it is further ahead than any pause may be: then the clock was wrong when the
    /// pause began, and it is over.
    #[must_use]
    pub fn pause_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.paused_until
            .filter(|until| *until <= Self::furthest_pause(now))
    }

    /// The furthest end that a pause may have now.
    #[must_use]
    pub fn furthest_pause(now: Timestamp) -> Timestamp {
        now.furthest_ahead(LONGEST_RETRY_AFTER)
    }

    /// How many messages may be in flight once the breaker is not open: `limit` if it is closed, one if it is
    /// half-open.
    #[must_use]
    pub fn in_flight_limit(&self, limit: u64) -> u64 {
        if self.failures > 0 {
            limit.min(1)
        } else {
            limit
        }
    }

    /// Closes the breaker, unless it is open: then the success is that of a message which was in flight when the pause
    /// began, and says nothing of the time after it. Returns whether the endpoint has recovered, so that queues
    /// which wait for it are due.
    pub(crate) fn record_success(&mut self, now: Timestamp) -> bool {
        if self.is_open(now) {
            return false;
        }
        let recovered = self.failures > 0;
        *self = Self::default();
        recovered
    }

    /// Notes a failure. `pause` is `None` if one message caused it; else the breaker opens, for at least that time.
    pub(crate) fn record_failure(&mut self, pause: Option<Duration>, now: Timestamp) {
        self.failing_since.get_or_insert(now);
        let Some(requested) = pause else { return };
        // A message that was in flight when the breaker opened adds nothing, unless its answer asks for a pause.
        if self.is_open(now) && requested.is_zero() {
            return;
        }
        let doublings = 2_u32.saturating_pow(self.failures);
        let own = FIRST_PAUSE.saturating_mul(doublings).min(LONGEST_PAUSE);
        let until = now.after(own.max(requested));
        self.paused_until = self.pause_until(now).max(Some(until));
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether the endpoint has failed without a success for at least `limit`.
    pub(crate) fn has_failed_for(&self, limit: Duration, now: Timestamp) -> bool {
        self.failing_since
            .is_some_and(|since| now.since(since) >= limit)
    }
}

/// What the outcomes of one transaction say about their endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BreakerSignal {
    /// The endpoint works.
    Success,
    /// Attempts failed. `pause` is the longest that the endpoint asked for, zero if it asked for none, and `None` if no
    /// failure was the endpoint's fault.
    Failure {
        /// See [`CircuitBreaker::record_failure`].
        pause: Option<Duration>,
    },
    /// The endpoint wants no messages any more and is to be disabled.
    Disable(DisabledReason),
}

/// Collects the outcomes of one transaction for one endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct OutcomeSummary {
    succeeded: bool,
    failed: bool,
    gone: bool,
    /// The longest pause that follows from failures of the endpoint.
    pause: Option<Duration>,
}

impl OutcomeSummary {
    /// Adds an outcome.
    pub(crate) fn add(&mut self, outcome: &AttemptOutcome) {
        match outcome {
            AttemptOutcome::Delivered => self.succeeded = true,
            AttemptOutcome::Gone => self.gone = true,
            AttemptOutcome::Failed { cause, retry_after } => {
                self.failed = true;
                if *cause == FailureCause::Endpoint {
                    let requested = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
                    self.pause = self.pause.max(Some(requested));
                }
            }
        }
    }

    /// What they say together: a success outweighs failures, unless the endpoint asks for a pause at the same time.
    pub(crate) fn signal(self) -> Option<BreakerSignal> {
        let asks_for_pause = self.pause.is_some_and(|requested| !requested.is_zero());
        if self.gone {
            Some(BreakerSignal::Disable(DisabledReason::Gone))
        } else if self.succeeded && !asks_for_pause {
            Some(BreakerSignal::Success)
        } else if self.failed {
            Some(BreakerSignal::Failure { pause: self.pause })
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(0).after(SECOND * u32::try_from(seconds).unwrap())
    }

    fn failed(cause: FailureCause, retry_after: Option<Duration>) -> AttemptOutcome {
        AttemptOutcome::Failed { cause, retry_after }
    }

    fn signal(outcomes: &[AttemptOutcome]) -> Option<BreakerSignal> {
        let mut summary = OutcomeSummary::default();
        for outcome in outcomes {
            summary.add(outcome);
        }
        summary.signal()
    }

    #[test]
    fn outcomes_of_a_transaction_give_one_signal() {
        use AttemptOutcome::{Delivered, Gone};
        use FailureCause::{Endpoint, Message};
        let minute = Some(SECOND * 60);
        let week = Some(Duration::from_hours(24 * 7));
        let failure = |pause| Some(BreakerSignal::Failure { pause });
        let table = [
            (vec![], None),
            (vec![Delivered], Some(BreakerSignal::Success)),
            (vec![failed(Message, None)], failure(None)),
            (vec![failed(Message, minute)], failure(None)),
            (vec![failed(Endpoint, None)], failure(Some(Duration::ZERO))),
            (vec![failed(Endpoint, minute)], failure(minute)),
            (
                vec![failed(Endpoint, minute), failed(Endpoint, None)],
                failure(minute),
            ),
            (
                vec![failed(Endpoint, week)],
                failure(Some(LONGEST_RETRY_AFTER)),
            ),
            (
                vec![failed(Endpoint, None), Delivered],
                Some(BreakerSignal::Success),
            ),
            (vec![Delivered, failed(Endpoint, minute)], failure(minute)),
            (
                vec![Delivered, Gone, failed(Endpoint, minute)],
                Some(BreakerSignal::Disable(DisabledReason::Gone)),
            ),
        ];
        for (outcomes, expected) in table {
            assert_eq!(signal(&outcomes), expected, "{outcomes:?}");
        }
    }

    #[test]
    fn pauses_double_from_a_second_to_a_minute() {
        let mut breaker = CircuitBreaker::default();
        let mut now = at(0);
        for seconds in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            breaker.record_failure(Some(Duration::ZERO), now);
            let until = now.after(SECOND * seconds);
            assert_eq!(breaker.paused_until, Some(until));
            now = until;
            assert!(!breaker.is_open(now), "half-open when the pause is over");
            assert_eq!(breaker.in_flight_limit(8), 1);
        }
        assert_eq!(breaker.failing_since, Some(at(0)));
        breaker.failures = u32::MAX;
        breaker.record_failure(Some(Duration::ZERO), now);
        assert_eq!(breaker.paused_until, Some(now.after(LONGEST_PAUSE)));
        assert_eq!(breaker.failures, u32::MAX);
    }

    #[test]
    fn a_pause_that_began_while_the_clock_was_ahead_is_over_when_it_is_corrected() {
        let mut breaker = CircuitBreaker::default();
        let ahead = at(0).after(Duration::from_hours(24 * 30));
        breaker.record_failure(Some(Duration::ZERO), ahead);
        assert!(breaker.is_open(ahead));
        assert!(!breaker.is_open(at(0)));
        breaker.record_failure(Some(SECOND * 2), at(0));
        assert_eq!(breaker.paused_until, Some(at(2)));
        // The longest pause that an endpoint may ask for stays.
        breaker.record_failure(Some(LONGEST_RETRY_AFTER), at(3));
        assert!(breaker.is_open(at(4)));
    }

    #[test]
    fn failures_while_open_count_only_if_they_ask_for_a_pause() {
        let mut breaker = CircuitBreaker::default();
        breaker.record_failure(Some(Duration::ZERO), at(0));
        let opened = breaker;
        breaker.record_failure(Some(Duration::ZERO), at(0));
        assert_eq!(breaker, opened);
        breaker.record_failure(Some(SECOND * 90), at(0));
        assert_eq!((breaker.failures, breaker.paused_until), (2, Some(at(90))));
        // A shorter request does not shorten the pause.
        breaker.record_failure(Some(SECOND * 5), at(1));
        assert_eq!((breaker.failures, breaker.paused_until), (3, Some(at(90))));
    }

    #[test]
    fn failures_of_messages_do_not_open_the_breaker() {
        let mut breaker = CircuitBreaker::default();
        breaker.record_failure(None, at(3));
        breaker.record_failure(None, at(7));
        assert_eq!(breaker.failing_since, Some(at(3)));
        assert!(!breaker.is_open(at(7)));
        assert_eq!(breaker.in_flight_limit(8), 8);
        assert!(!breaker.record_success(at(8)), "nothing waits for it");
        assert_eq!(breaker, CircuitBreaker::default());
    }

    #[test]
    fn success_closes_a_half_open_breaker_but_not_an_open_one() {
        let mut breaker = CircuitBreaker::default();
        breaker.record_failure(Some(Duration::ZERO), at(0));
        let opened = breaker;
        assert!(!breaker.record_success(at(0)));
        assert_eq!(breaker, opened);
        assert!(breaker.record_success(at(1)));
        assert_eq!(breaker, CircuitBreaker::default());
        assert!(!breaker.record_success(at(1)));
    }

    #[test]
    fn failing_for_the_limit_disables_and_a_success_starts_the_time_again() {
        let limit = SECOND * 100;
        let mut breaker = CircuitBreaker::default();
        assert!(!breaker.has_failed_for(limit, at(1_000)));
        breaker.record_failure(None, at(10));
        assert!(!breaker.has_failed_for(limit, at(109)));
        assert!(breaker.has_failed_for(limit, at(110)));
        breaker.record_success(at(110));
        breaker.record_failure(None, at(111));
        assert!(!breaker.has_failed_for(limit, at(210)));
    }

    proptest! {
        #[test]
        fn any_history_keeps_the_invariants(
            steps in prop::collection::vec((0..100_u64, prop::option::of(prop::option::of(0..200_u64))), 1..60)
        ) {
            let (mut breaker, mut now) = (CircuitBreaker::default(), at(0));
            for (wait, failure) in steps {
                now = now.after(SECOND * u32::try_from(wait).unwrap());
                let before = breaker;
                match failure {
                    None => {
                        let recovered = breaker.record_success(now);
                        prop_assert_eq!(recovered, before.failures > 0 && !before.is_open(now));
                    }
                    Some(pause) => breaker.record_failure(pause.map(Duration::from_secs), now),
                }
                prop_assert!(breaker.failures == 0 || breaker.failing_since.is_some());
                prop_assert_eq!(breaker.failures > 0, breaker.paused_until.is_some());
                if before.is_open(now) {
                    prop_assert!(breaker.paused_until >= before.paused_until, "no outcome shortens a pause");
                }
                if let (Some(Some(_)), false) = (failure, before.is_open(now)) {
                    prop_assert!(breaker.is_open(now));
                }
            }
        }
    }
}
