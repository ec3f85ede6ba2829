use sea_orm::DbErr;

use super::KEY_BYTES;
use crate::{
    access::ApiKey,
    store::{
        PendingWrite, Store,
        tables::api_keys,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

struct CreateKey(ApiKey);

impl WriteRequest for CreateKey {
    type Output = bool;

    const PHASE: Option<Phase> = Some(Phase::Administration);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        KEY_BYTES
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<bool>, DbErr> {
        api_keys::insert(transaction.db, &self.0, transaction.now)
            .await
            .map(Some)
    }
}

impl Store {
    /// Creates a key; false if there are 1,000 already.
    pub fn create_key(&self, key: ApiKey) -> PendingWrite<bool> {
        self.writes.submit(CreateKey(key))
    }
}
