//! Retry plan of webhook messages: when a failed message is sent again, and how an attempt changes its message.

use std::time::Duration;

use crate::domain::{AttemptOutcome, FailureCause, MessageState, Timestamp};

/// An attempt comes earlier or later than planned by up to this share of its delay, so that messages that failed
/// together do not come back together.
const JITTER: f64 = 0.1;

/// The longest pause before the next attempt that an endpoint may ask for.
pub(crate) const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// Delays before the attempts to send a message; the first one is zero.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RetrySchedule(Vec<Duration>);

impl RetrySchedule {
    /// A message is given up after as many attempts as there are `delays`.
    #[must_use]
    pub fn new(delays: Vec<Duration>) -> Self {
        Self(delays)
    }

    /// The delay from the failure of an attempt to the next attempt, or `None` if there is none. `attempts` is the
    /// number of those that were counted before the one that failed. `random`, in `0.0..1.0`, is where in the range of
    /// the jitter the delay lies. A pause that the endpoint asked for (`retry_after`) is never cut short.
    #[must_use]
    pub fn delay_after(
        &self,
        attempts: u32,
        retry_after: Option<Duration>,
        random: f64,
    ) -> Option<Duration> {
        let next = usize::try_from(attempts).ok()?.checked_add(1)?;
        let planned = self.0.get(next)?;
        let jittered = planned.mul_f64(1.0 + (random * 2.0 - 1.0) * JITTER);
        Some(jittered.max(retry_after.unwrap_or_default()))
    }

    /// The longest time from one attempt to the next.
    #[must_use]
    pub fn longest_delay(&self) -> Duration {
        let longest = self.0.iter().max().copied().unwrap_or_default();
        longest.mul_f64(1.0 + JITTER).max(LONGEST_RETRY_AFTER)
    }
}

/// How an attempt changes its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MessageUpdate {
    /// Its new state.
    pub(crate) state: MessageState,
    /// When it is sent next, if it is still pending.
    pub(crate) due: Timestamp,
    /// Whether the attempt counts as one of those that the schedule allows.
    pub(crate) counts: bool,
    /// Whether the message waits for its endpoint to recover, at most until `due`.
    pub(crate) waits_for_endpoint: bool,
}

impl MessageUpdate {
    /// The update after an attempt at `now`. `retry_in` is the delay until the next attempt, `None` after the last one.
    /// `sent_early` is the planned time of a message that was sent before it because its endpoint had recovered.
    pub(crate) fn after(
        outcome: &AttemptOutcome,
        retry_in: Option<Duration>,
        sent_early: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
        let update = |state, due| Self {
            state,
            due,
            counts: true,
            waits_for_endpoint: false,
        };
        match (outcome, sent_early, retry_in) {
            (AttemptOutcome::Delivered, ..) => update(MessageState::Delivered, now),
            // The endpoint is disabled; the message is sent if it is enabled again.
            (AttemptOutcome::Gone, ..) => update(MessageState::Pending, now),
            // The endpoint had only seemed to recover: that costs the message none of its attempts.
            (AttemptOutcome::Failed { .. }, Some(planned), _) => Self {
                counts: false,
                ..update(MessageState::Pending, planned)
            },
            (AttemptOutcome::Failed { cause, .. }, None, Some(delay)) => Self {
                waits_for_endpoint: *cause == FailureCause::Endpoint,
                ..update(MessageState::Pending, now.after(delay))
            },
            (AttemptOutcome::Failed { .. }, None, None) => update(MessageState::Failed, now),
        }
    }

    /// Whether the message is delivered or given up.
    pub(crate) fn is_final(&self) -> bool {
        self.state != MessageState::Pending
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn failed(cause: FailureCause) -> AttemptOutcome {
        AttemptOutcome::Failed {
            cause,
            retry_after: None,
        }
    }

    #[test]
    fn a_schedule_gives_each_attempt_its_delay_and_then_ends() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, SECOND * 5, SECOND * 300]);
        let delay = |attempts| schedule.delay_after(attempts, None, 0.5);
        assert_eq!(delay(0), Some(SECOND * 5));
        assert_eq!(delay(1), Some(SECOND * 300));
        assert_eq!(delay(2), None);
        assert_eq!(delay(u32::MAX), None);
    }

    #[test]
    fn a_requested_pause_only_lengthens_the_delay_and_adds_no_attempt() {
        let schedule = RetrySchedule::new(vec![Duration::ZERO, SECOND * 10]);
        let delay = |attempts, seconds| schedule.delay_after(attempts, Some(SECOND * seconds), 0.5);
        assert_eq!(delay(0, 3), Some(SECOND * 10));
        assert_eq!(delay(0, 60), Some(SECOND * 60));
        assert_eq!(delay(1, 60), None);
    }

    #[test]
    fn outcomes_change_a_message_as_the_table_says() {
        use AttemptOutcome::{Delivered, Gone};
        use FailureCause::{Endpoint, Message};
        use MessageState::{Failed, Pending};
        let now = Timestamp::from_millis(1_000);
        let (later, planned) = (now.after(SECOND), Timestamp::from_millis(9_000));
        let update = |state, due, counts, waits_for_endpoint| MessageUpdate {
            state,
            due,
            counts,
            waits_for_endpoint,
        };
        let delivered = update(MessageState::Delivered, now, true, false);
        let table = [
            (Delivered, None, None, delivered),
            (Delivered, None, Some(planned), delivered),
            (Gone, None, None, update(Pending, now, true, false)),
            (Gone, None, Some(planned), update(Pending, now, true, false)),
            (
                failed(Endpoint),
                Some(SECOND),
                None,
                update(Pending, later, true, true),
            ),
            (
                failed(Message),
                Some(SECOND),
                None,
                update(Pending, later, true, false),
            ),
            (
                failed(Endpoint),
                None,
                None,
                update(Failed, now, true, false),
            ),
            (
                failed(Message),
                None,
                None,
                update(Failed, now, true, false),
            ),
            (
                failed(Endpoint),
                Some(SECOND),
                Some(planned),
                update(Pending, planned, false, false),
            ),
            (
                failed(Message),
                None,
                Some(planned),
                update(Pending, planned, false, false),
            ),
        ];
        for (outcome, retry_in, sent_early, expected) in table {
            let update = MessageUpdate::after(&outcome, retry_in, sent_early, now);
            assert_eq!(update, expected, "{outcome:?} {retry_in:?} {sent_early:?}");
        }
    }

    proptest! {
        #[test]
        fn jitter_moves_a_delay_by_at_most_a_tenth(millis in 0..1_000_000_000_u64, random in 0.0..1.0_f64) {
            let planned = Duration::from_millis(millis);
            let schedule = RetrySchedule::new(vec![Duration::ZERO, planned]);
            let delay = schedule.delay_after(0, None, random).unwrap();
            prop_assert!(delay >= planned.mul_f64(0.899_999));
            prop_assert!(delay <= planned.mul_f64(1.100_001));
        }
    }
}
