use std::time::Duration;

use sea_orm::DbErr;

use crate::store::{
    PendingWrite, Store,
    webhooks::{ClaimLimit, ClaimedMessage, claim::claim},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

/// Bytes that a limit takes in the queue of write requests.
const LIMIT_BYTES: usize = 64;

struct ClaimMessages {
    limits: Vec<ClaimLimit>,
    lasts: Duration,
}

impl WriteRequest for ClaimMessages {
    type Output = Vec<ClaimedMessage>;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        self.limits.len() * LIMIT_BYTES
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<Vec<ClaimedMessage>>, DbErr> {
        let BatchTransaction {
            db,
            texts,
            now,
            endpoints,
            ..
        } = transaction;
        let claimed = claim(db, texts, endpoints, &self.limits, self.lasts, *now);
        claimed.await.map(Some)
    }
}

impl Store {
    /// Claims delivery queues that are due, within `limits`, and returns the next message of each. The claims end by
    /// themselves after the time `lasts`.
    pub fn claim_messages(
        &self,
        limits: Vec<ClaimLimit>,
        lasts: Duration,
    ) -> PendingWrite<Vec<ClaimedMessage>> {
        self.writes.submit(ClaimMessages { limits, lasts })
    }
}
