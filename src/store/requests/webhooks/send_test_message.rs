use sea_orm::DbErr;
use uuid::Uuid;

use crate::store::{
    PendingWrite, Store,
    webhooks::resend,
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct SendTestMessage {
    endpoint_id: Uuid,
}

impl WriteRequest for SendTestMessage {
    type Output = Option<Uuid>;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<Option<Uuid>>, DbErr> {
        transaction.webhooks.effects.due = true;
        let BatchTransaction {
            db,
            texts,
            now,
            endpoints,
            ..
        } = transaction;
        let Some(endpoint) = endpoints.enabled_with(self.endpoint_id) else {
            return Ok(Some(None));
        };
        resend::send_test(db, texts, endpoint, *now).await.map(Some)
    }
}

impl Store {
    /// Creates a test message and returns its id; `None` if there is no such endpoint or it is disabled.
    pub fn send_test_message(&self, endpoint_id: Uuid) -> PendingWrite<Option<Uuid>> {
        self.writes.submit(SendTestMessage { endpoint_id })
    }
}
