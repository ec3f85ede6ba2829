use sea_orm::DbErr;

use crate::{
    access::KeyId,
    domain::Timestamp,
    store::{
        PendingWrite, Store,
        tables::api_keys,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

/// Bytes that a use takes in the queue.
const USE_BYTES: usize = 64;

struct NoteKeyUses(Vec<(KeyId, Timestamp)>);

impl WriteRequest for NoteKeyUses {
    type Output = ();

    const PHASE: Option<Phase> = Some(Phase::Administration);

    fn is_urgent(&self) -> bool {
        false
    }

    fn payload_bytes(&self) -> usize {
        self.0.len() * USE_BYTES
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<()>, DbErr> {
        api_keys::note_uses(transaction.db, &self.0).await.map(Some)
    }
}

impl Store {
    /// Notes when keys were used last.
    pub fn note_key_uses(&self, uses: Vec<(KeyId, Timestamp)>) -> PendingWrite<()> {
        self.writes.submit(NoteKeyUses(uses))
    }
}
