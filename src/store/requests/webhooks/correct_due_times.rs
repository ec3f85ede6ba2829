use sea_orm::DbErr;
use uuid::Uuid;

use crate::store::{
    PendingWrite, Store,
    webhooks::{DueLimits, due_limits},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct CorrectDueTimes {
    endpoint_id: Uuid,
    limits: DueLimits,
}

impl WriteRequest for CorrectDueTimes {
    type Output = u64;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        false
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<u64>, DbErr> {
        let BatchTransaction { db, now, .. } = transaction;
        let corrected = due_limits::correct(db, self.endpoint_id, self.limits, *now).await?;
        Ok(Some(corrected))
    }
}

impl Store {
    /// Corrects times of some deliveries of an endpoint that are further ahead than `limits`. Returns how many: 0 means
    /// that there are no more.
    pub fn correct_due_times(&self, endpoint_id: Uuid, limits: DueLimits) -> PendingWrite<u64> {
        self.writes.submit(CorrectDueTimes {
            endpoint_id,
            limits,
        })
    }
}
