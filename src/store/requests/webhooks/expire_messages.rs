use sea_orm::DbErr;

use crate::store::{
    PendingWrite, Store,
    webhooks::{Surplus, backlog},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct ExpireMessages(Surplus);

impl WriteRequest for ExpireMessages {
    type Output = u64;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        false
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<u64>, DbErr> {
        let BatchTransaction { db, texts, .. } = transaction;
        backlog::expire(db, texts, self.0).await.map(Some)
    }
}

impl Store {
    /// Deletes some surplus messages, the oldest first, and returns how many: 0 means that there are no more.
    pub fn expire_messages(&self, surplus: Surplus) -> PendingWrite<u64> {
        self.writes.submit(ExpireMessages(surplus))
    }
}
