//! How long a vehicle may take to come back before it counts as offline.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::DisconnectReason;

/// The grace that a vehicle gets when its session ends on a shared database, where it may reconnect to another
/// instance.
#[derive(Debug, Clone)]
pub struct OfflineGrace {
    grace: Option<Duration>,
    draining: CancellationToken,
}

impl OfflineGrace {
    /// Grants `grace`, or none at all if it is `None` or zero. `draining` is cancelled while this instance drains.
    #[must_use]
    pub fn new(grace: Option<Duration>, draining: CancellationToken) -> Self {
        let grace = grace.filter(|grace| !grace.is_zero());
        Self { grace, draining }
    }

    /// The grace of a vehicle whose session ended for `reason`; `None` if the vehicle is offline at once.
    ///
    /// A session that its instance ended always has a grace. While the instance drains, so has one that broke, because
    /// the vehicle is expected at another instance; one that the vehicle or an operator ended never has.
    #[must_use]
    pub fn after(&self, reason: DisconnectReason) -> Option<Duration> {
        use DisconnectReason as R;
        let is_ended_by_instance = matches!(
            reason,
            R::Shutdown | R::InstanceLost | R::StoreUnavailable | R::InternalError
        );
        let is_deliberate = matches!(
            reason,
            R::Goodbye | R::Operator | R::Deleted | R::Superseded
        );
        let has_grace = is_ended_by_instance || (self.draining.is_cancelled() && !is_deliberate);
        self.grace.filter(|_| has_grace)
    }
}

#[cfg(test)]
mod tests {
    use strum::VariantArray;

    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn reasons_with_grace(grace: Option<Duration>, is_draining: bool) -> Vec<DisconnectReason> {
        let draining = CancellationToken::new();
        if is_draining {
            draining.cancel();
        }
        let grace = OfflineGrace::new(grace, draining);
        let reasons = DisconnectReason::VARIANTS.iter().copied();
        reasons
            .filter(|reason| grace.after(*reason).is_some())
            .collect()
    }

    #[test]
    fn sessions_that_the_instance_ended_have_a_grace() {
        use DisconnectReason as R;
        let expected = [
            R::Shutdown,
            R::InstanceLost,
            R::StoreUnavailable,
            R::InternalError,
        ];
        assert_eq!(reasons_with_grace(Some(GRACE), false), expected);
    }

    #[test]
    fn while_draining_all_but_deliberate_ends_have_a_grace() {
        use DisconnectReason as R;
        let expected = [
            R::ConnectionClosed,
            R::ConnectionLost,
            R::Silent,
            R::LoginTimeout,
            R::Shutdown,
            R::InstanceLost,
            R::StoreUnavailable,
            R::TooManyBadSentences,
            R::TooLarge,
            R::SlowReader,
            R::OverCapacity,
            R::InternalError,
        ];
        assert_eq!(reasons_with_grace(Some(GRACE), true), expected);
    }

    #[test]
    fn there_is_no_grace_without_a_shared_database_or_if_it_is_zero() {
        assert_eq!(reasons_with_grace(None, true), []);
        assert_eq!(reasons_with_grace(Some(Duration::ZERO), true), []);
    }
}
