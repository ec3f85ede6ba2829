//! How long callers wait for a write.

use std::time::Duration;

use tokio::time::timeout;

use super::{PendingWrite, Store, StoreError};

/// How long an attempt to commit that began within `store.commit_timeout` may go on after it.
const COMMIT_SLACK: Duration = Duration::from_secs(2);

impl Store {
    /// The longest wait for a write: `store.commit_timeout`, and time for an attempt that began within it to end, so
    /// that what is stored is not reported as unavailable.
    #[must_use]
    pub fn commit_wait(&self) -> Duration {
        self.commit_timeout + COMMIT_SLACK
    }

    /// Waits for a write, but at most [`Store::commit_wait`] even if the database hangs. After that it fails with
    /// [`StoreError::Unavailable`], and whether the write is stored, or will be, is unknown.
    pub async fn settled<T>(&self, write: PendingWrite<T>) -> Result<T, StoreError> {
        timeout(self.commit_wait(), write)
            .await
            .unwrap_or(Err(StoreError::Unavailable))
    }
}
