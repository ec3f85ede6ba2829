//! How long a vehicle may take to come back before it counts as offline.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::domain::DisconnectReason;

/// The grace that ended sessions get on a shared database, where a vehicle may reconnect to another instance.
#[derive(Debug, Clone)]
pub struct OfflineGrace {
    grace: Option<Duration>,
    draining: CancellationToken,
}

impl OfflineGrace {
    /// Gives `grace`; none if it is `None` or zero. `draining` is cancelled once this instance is draining.
    #[must_use]
    pub fn new(grace: Option<Duration>, draining: CancellationToken) -> Self {
        let grace = grace.filter(|grace| !grace.is_zero());
        Self { grace, draining }
    }

    /// The grace of a vehicle whose session ended for `reason`; `None` if it is offline at once.
    #[must_use]
    pub fn after(&self, reason: DisconnectReason) -> Option<Duration> {
        use DisconnectReason as R;
        let by_instance = matches!(reason, R::Shutdown | R::InstanceLost | R::StoreUnavailable);
        let by_somebody = matches!(
            reason,
            R::Goodbye | R::Operator | R::Deleted | R::Superseded
        );
        let has_grace = by_instance || (self.draining.is_cancelled() && !by_somebody);
        self.grace.filter(|_| has_grace)
    }
}
