use sea_orm::DbErr;

use crate::{
    domain::{DeviceId, Timestamp},
    store::{
        PendingWrite, Store,
        tables::{api_keys, audit, commands, debug_blobs, idempotency_keys, reports},
        webhooks,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

/// Which old rows one small step of a purge deletes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Purge {
    /// Reports received before this time.
    Reports(Timestamp),
    /// Debug blobs received before this time.
    DebugBlobs(Timestamp),
    /// Finished commands that were made before this time.
    Commands(Timestamp),
    /// Idempotency keys made before this time.
    Keys(Timestamp),
    /// Messages of webhooks that were made before this time.
    Messages(Timestamp),
    /// Audit records from before this time.
    Audit(Timestamp),
    /// Keys of the API that ended before this time.
    EndedKeys(Timestamp),
    /// What deleted endpoints of webhooks left.
    DeletedEndpoints,
    /// The history of a deleted vehicle, up to and including this time.
    Forgotten(DeviceId, Timestamp),
}

impl WriteRequest for Purge {
    type Output = u64;

    const PHASE: Option<Phase> = Some(Phase::Histories);

    fn is_urgent(&self) -> bool {
        false
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<u64>, DbErr> {
        let BatchTransaction { db, texts, .. } = transaction;
        let deleted = match self {
            Self::Reports(before) => reports::purge_before(db, before.as_millis()).await,
            Self::DebugBlobs(before) => debug_blobs::purge_before(db, before.as_millis()).await,
            Self::Commands(before) => commands::purge_before(db, before.as_millis()).await,
            Self::Keys(before) => idempotency_keys::purge_before(db, before.as_millis()).await,
            Self::Messages(before) => {
                webhooks::purge::old_messages(db, texts, before.as_millis()).await
            }
            Self::Audit(before) => audit::purge_before(db, before.as_millis()).await,
            Self::EndedKeys(before) => api_keys::purge_ended(db, before.as_millis()).await,
            Self::DeletedEndpoints => webhooks::purge::deleted_endpoints(db).await,
            Self::Forgotten(device_id, through) => {
                let (device_id, through) = (device_id.as_str(), through.as_millis());
                // Counts the rows that were found, deleted or not. Another instance may have deleted these first while
                // there are more; at 0 the history is marked as purged, and no instance looks again.
                Ok(webhooks::purge::dropped_messages(db, device_id).await?
                    + reports::purge_deleted(db, device_id, through).await?
                    + debug_blobs::purge_deleted(db, device_id, through).await?
                    + commands::purge_deleted(db, device_id, through).await?
                    + idempotency_keys::purge_deleted(db, device_id, through).await?)
            }
        };
        deleted.map(Some)
    }
}

impl Store {
    /// Deletes some old rows and returns how many: 0 means that there are no more.
    pub fn purge(&self, step: Purge) -> PendingWrite<u64> {
        self.writes.submit(step)
    }
}
