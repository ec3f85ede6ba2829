use sea_orm::DbErr;
use uuid::Uuid;

use crate::store::{
    PendingWrite, Store,
    webhooks::{RetryProgress, RetryStep, resend},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct RetryFailedMessages {
    endpoint_id: Uuid,
    step: RetryStep,
}

impl WriteRequest for RetryFailedMessages {
    type Output = RetryProgress;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<RetryProgress>, DbErr> {
        transaction.webhooks.effects.due = true;
        let BatchTransaction { db, texts, now, .. } = transaction;
        let retried = resend::retry_failed(db, texts, self.endpoint_id, self.step, *now);
        retried.await.map(Some)
    }
}

impl Store {
    /// Makes the failed messages of one step due now, and returns how many these are.
    pub fn retry_failed_messages(
        &self,
        endpoint_id: Uuid,
        step: RetryStep,
    ) -> PendingWrite<RetryProgress> {
        self.writes
            .submit(RetryFailedMessages { endpoint_id, step })
    }
}
