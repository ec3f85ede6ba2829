//! The times that the checks of several invariants allow, in milliseconds.

use std::time::Duration;

use crate::{
    history::record::Moment,
    support::{GRACE, LEASE},
};

/// Every observer reads the same clock, in whole milliseconds.
pub(crate) const CLOCK_ROUNDING: Moment = 5;
/// How much later than an event its observer may read the clock.
pub(crate) const READ_DELAY: Moment = 100;
/// How long after its statement a transaction may commit, when the database is suspended between.
pub(crate) const COMMIT_DELAY: Moment = 15_000;
/// How long after it was written a sentence may reach its device, on a busy machine.
pub(crate) const TRANSIT_DELAY: Moment = 1_500;

/// The lease of an incarnation: without a renewal for so long, it is declared dead.
pub(crate) fn lease() -> Moment {
    millis(LEASE)
}

/// The grace period: how long a vehicle stays online after its instance ended the session.
pub(crate) fn grace() -> Moment {
    millis(GRACE)
}

fn millis(duration: Duration) -> Moment {
    duration.as_millis().try_into().unwrap()
}
