use sea_orm::DbErr;

use crate::{
    access::AuditRecord,
    store::{
        PendingWrite, Store,
        tables::audit,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

/// Bytes that a record takes in the queue.
const RECORD_BYTES: usize = 512;

struct RecordAudit(AuditRecord);

impl WriteRequest for RecordAudit {
    type Output = ();

    const PHASE: Option<Phase> = Some(Phase::Administration);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        RECORD_BYTES
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<()>, DbErr> {
        let BatchTransaction { db, texts, .. } = transaction;
        audit::insert(db, texts, &self.0).await.map(Some)
    }
}

impl Store {
    /// Stores an audit record.
    pub fn record_audit(&self, record: AuditRecord) -> PendingWrite<()> {
        self.writes.submit(RecordAudit(record))
    }
}
