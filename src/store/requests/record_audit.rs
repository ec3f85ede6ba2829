use crate::{
    access::AuditRecord,
    state::BatchState,
    store::{
        PendingWrite, Store,
        write_request::{Touched, WriteRequest},
    },
};

/// Bytes that a record takes in the queue.
const RECORD_BYTES: usize = 512;

/// The batch inserts the records of all such requests together.
struct RecordAudit(AuditRecord);

impl WriteRequest for RecordAudit {
    type Output = ();

    fn is_urgent(&self) -> bool {
        false
    }

    fn payload_bytes(&self) -> usize {
        RECORD_BYTES
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.audit_records.push(&self.0);
    }

    fn apply(&self, _: &mut BatchState) -> Option<()> {
        Some(())
    }
}

impl Store {
    /// Stores an audit record.
    pub fn record_audit(&self, record: AuditRecord) -> PendingWrite<()> {
        self.writes.submit(RecordAudit(record))
    }
}
