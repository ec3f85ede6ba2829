//! How long callers wait for a write.

use std::time::Duration;

use tokio::time::timeout;

use super::{PendingWrite, Store, StoreError};

/// What an attempt to commit that began within `store.commit_timeout` may take to end.
const COMMIT_SLACK: Duration = Duration::from_secs(2);

impl Store {
    /// The longest wait for a write: `store.commit_timeout`, and time for an attempt that began within it to end, so
    /// that what is stored is not reported as unavailable.
    #[must_use]
    pub fn commit_wait(&self) -> Duration {
        self.commit_timeout + COMMIT_SLACK
    }

    /// Waits for a write for at most [`Store::commit_wait`], also if the database hangs; then fails with
    /// [`StoreError::Unavailable`], and whether it will be stored is unknown.
    pub async fn settled<T>(&self, write: PendingWrite<T>) -> Result<T, StoreError> {
        timeout(self.commit_wait(), write)
            .await
            .unwrap_or(Err(StoreError::Unavailable))
    }
}
