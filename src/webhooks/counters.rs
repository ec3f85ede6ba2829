//! Counters of delivery attempts.

use prometheus_client::metrics::counter::Counter;

use crate::domain::AttemptOutcome;

/// Counters since the start of this process. Clones share their counts; the dispatcher increments them.
#[derive(Debug, Clone, Default)]
pub struct DeliveryCounters {
    /// Successful attempts.
    pub delivered: Counter,
    /// Failed attempts.
    pub failed: Counter,
    /// Messages that were given up after their last attempt.
    pub given_up: Counter,
}

impl DeliveryCounters {
    pub(super) fn count(&self, outcome: &AttemptOutcome) {
        let counter = match outcome {
            AttemptOutcome::Delivered => &self.delivered,
            AttemptOutcome::Gone | AttemptOutcome::Failed { .. } => &self.failed,
        };
        counter.inc();
    }
}
