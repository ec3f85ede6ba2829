use sea_orm::DbErr;

use crate::store::{
    PendingWrite, Store,
    webhooks::{ClaimedMessage, FinishedAttempt},
    write_request::{BatchTransaction, Phase, Touched, WriteRequest},
};

/// Bytes that an attempt takes in the queue, with the texts of its response and error.
const ATTEMPT_BYTES: usize = 2048;

struct SettleAttempt(Box<FinishedAttempt>);

impl WriteRequest for SettleAttempt {
    type Output = Option<ClaimedMessage>;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        ATTEMPT_BYTES
    }

    fn touch<'a>(&'a self, touched: &mut Touched<'a>) {
        touched.attempts.push(&self.0);
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<Option<ClaimedMessage>>, DbErr> {
        let next = transaction.webhooks.next.get(&self.0.key.id).cloned();
        Ok(Some(next))
    }
}

impl Store {
    /// Settles an attempt to send a message. Returns the next message of the delivery queue if the attempt asked to
    /// claim one and there is one that may be sent.
    pub fn settle_attempt(&self, attempt: FinishedAttempt) -> PendingWrite<Option<ClaimedMessage>> {
        self.writes.submit(SettleAttempt(Box::new(attempt)))
    }
}
