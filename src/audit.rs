//! The audit trail: who changed something or spoke to a vehicle over the API, and what came of it.

use std::{sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{domain::Timestamp, log_throttle::LogThrottle, store::Store};

pub use crate::{
    access::AuditRecord,
    store::{AuditPage, StoreError},
};

/// The least time between two log lines about records that are lost.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

static LOST: LogThrottle = LogThrottle::every(LOG_INTERVAL, |records| {
    tracing::warn!(records, "audit records not stored");
});

/// The most records that wait to be stored. Of more than these the log counts those that are dropped.
const MAX_WAITING: usize = 1_000;

/// The audit trail.
#[derive(Debug)]
pub struct Audit {
    store: Arc<Store>,
    /// Room for records that wait.
    waiting: Arc<Semaphore>,
}

impl Audit {
    /// The audit trail in `store`.
    #[must_use]
    pub fn new(store: Arc<Store>) -> Self {
        Self {
            store,
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
        }
    }

    /// The time, by the clock that all instances on the database share.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.store.now()
    }

    /// Lists records, newest first.
    pub async fn records(&self, page: AuditPage) -> Result<Vec<AuditRecord>, StoreError> {
        self.store.audit_records(page).await
    }

    /// Stores a record. Nobody waits for it: the request has ended. With room in the queue of the store it is among the
    /// writes before this returns, so that a stop of the gateway does not lose it. The log counts the records that
    /// cannot be stored, and shows some.
    pub fn record(&self, record: AuditRecord) {
        let Ok(room) = Arc::clone(&self.waiting).try_acquire_owned() else {
            lost(&record, &StoreError::Unavailable);
            return;
        };
        let write = self.store.record_audit(record.clone());
        tokio::spawn(async move {
            if let Err(error) = write.await {
                lost(&record, &error);
            }
            drop(room);
        });
    }
}

fn lost(record: &AuditRecord, error: &StoreError) {
    if let Some(records) = LOST.admit() {
        tracing::warn!(records, %error, last = ?record, "audit records not stored");
    } else {
        tracing::debug!(%error, ?record, "audit record not stored");
    }
}
