//! Backlogs of webhook endpoints: those that work again catch up, and surplus messages expire.

use std::time::Duration;

use uuid::Uuid;

use super::Maintenance;
use crate::{
    log_throttle::LogThrottle,
    pacing::DEVICES_PER_WRITE,
    store::{CatchUp, DueLimits, StoreError, Surplus},
};

static CAUGHT_UP: LogThrottle = LogThrottle::lines_in(10, Duration::from_mins(1), |webhooks| {
    tracing::info!(
        webhooks,
        "webhook has caught up: it gets one message for each vehicle that may have changed"
    );
});

impl Maintenance {
    /// Lets endpoints that were behind and work again catch up: stores one message for each vehicle that changed
    /// meanwhile. An endpoint that is behind, not paused and has nothing pending catches up too: without a message to
    /// send, nothing would show whether it works again. Only the instance with the lowest incarnation id does this.
    pub async fn catch_up_webhooks(&self) -> Result<(), StoreError> {
        if !self.is_first() {
            return Ok(());
        }
        let now = self.store.now();
        for endpoint_id in self.store.endpoints_left_behind(now).await? {
            let recovered = self.store.recover_backlog(endpoint_id);
            self.store.settled(recovered).await?;
        }
        for endpoint in self.store.endpoints_catching_up(now).await? {
            self.catch_up(endpoint).await?;
        }
        Ok(())
    }

    async fn catch_up(&self, endpoint: CatchUp) -> Result<(), StoreError> {
        let CatchUp {
            endpoint_id,
            since,
            backlog,
        } = endpoint;
        let (mut after, mut vehicles) = (None, 0);
        loop {
            let changed = self
                .store
                .vehicles_changed_since(since, after.as_ref(), DEVICES_PER_WRITE as u64)
                .await?;
            let Some(last) = changed.last().cloned() else {
                break;
            };
            vehicles += changed.len();
            let reported = self.store.report_current_state(endpoint_id, changed);
            self.store.settled(reported).await?;
            // It may have fallen behind again, or be deleted: then the rest is not stored.
            let now = self.store.endpoint(endpoint_id).await?;
            if now.is_none_or(|endpoint| endpoint.backlog != backlog) {
                return Ok(());
            }
            after = Some(last);
        }
        let caught_up = self.store.caught_up(endpoint_id, backlog);
        self.store.settled(caught_up).await?;
        if let Some(webhooks) = CAUGHT_UP.admit() {
            tracing::info!(id = %endpoint_id, vehicles, webhooks, "webhook has caught up: it gets one message for each vehicle that may have changed");
        } else {
            tracing::debug!(id = %endpoint_id, vehicles, "webhook has caught up: it gets one message for each vehicle that may have changed");
        }
        Ok(())
    }

    /// Expires the oldest messages of endpoints with more than `allowed` pending ones. Returns how many of which
    /// endpoints.
    pub async fn expire_webhook_messages(
        &self,
        allowed: u64,
    ) -> Result<Vec<(Uuid, u64)>, StoreError> {
        if !self.is_first() {
            return Ok(Vec::new());
        }
        let mut expired = Vec::new();
        for surplus in self.store.surplus_messages(allowed).await? {
            let messages = self.expire_all(surplus).await?;
            expired.push((surplus.endpoint_id, messages));
        }
        Ok(expired)
    }

    /// Corrects times of deliveries that are further ahead than `limits`, because the clock was set back. Returns how
    /// many queues it corrected.
    pub async fn correct_due_times(&self, limits: DueLimits) -> Result<u64, StoreError> {
        if !self.is_first() {
            return Ok(0);
        }
        let now = self.store.now();
        let mut corrected = 0;
        for endpoint_id in self.store.endpoints_due_too_far(limits, now).await? {
            loop {
                let step = self.store.correct_due_times(endpoint_id, limits);
                match self.store.settled(step).await? {
                    0 => break,
                    queues => corrected += queues,
                }
            }
        }
        Ok(corrected)
    }

    async fn expire_all(&self, surplus: Surplus) -> Result<u64, StoreError> {
        let mut expired = 0;
        loop {
            let step = self.store.expire_messages(surplus);
            match self.store.settled(step).await? {
                0 => return Ok(expired),
                messages => expired += messages,
            }
        }
    }
}
