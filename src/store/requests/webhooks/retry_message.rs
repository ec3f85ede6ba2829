use sea_orm::DbErr;
use uuid::Uuid;

use crate::store::{
    PendingWrite, Store,
    webhooks::resend,
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct RetryMessage {
    endpoint_id: Uuid,
    id: Uuid,
}

impl WriteRequest for RetryMessage {
    type Output = bool;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<bool>, DbErr> {
        transaction.webhooks.effects.due = true;
        let BatchTransaction { db, texts, now, .. } = transaction;
        let ids = [self.id.to_string()];
        let retried = resend::retry(db, texts, self.endpoint_id, &ids, *now).await?;
        Ok(Some(retried > 0))
    }
}

impl Store {
    /// Makes a message due now; false if there is none with this id, or its vehicle was deleted.
    pub fn retry_message(&self, endpoint_id: Uuid, id: Uuid) -> PendingWrite<bool> {
        self.writes.submit(RetryMessage { endpoint_id, id })
    }
}
