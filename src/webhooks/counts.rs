//! What was sent since the start, for whoever watches.

use prometheus_client::metrics::counter::Counter;

use super::{Attempt, Outcome};

/// Counts of attempts. Clones are the same counts; the dispatcher adds to them.
#[derive(Debug, Clone, Default)]
pub struct Counts {
    /// Attempts that were answered with success.
    pub delivered: Counter,
    /// Attempts that were not.
    pub failed: Counter,
    /// Messages that were given up after their last attempt.
    pub given_up: Counter,
}

impl Counts {
    pub(super) fn add(&self, attempt: &Attempt) {
        let counter = match attempt.outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Gone | Outcome::Failed { .. } => &self.failed,
        };
        counter.inc();
    }
}
