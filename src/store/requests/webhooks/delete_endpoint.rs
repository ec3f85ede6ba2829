use sea_orm::DbErr;
use uuid::Uuid;

use crate::store::{
    PendingWrite, Store,
    webhooks::manage,
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct DeleteEndpoint(Uuid);

impl WriteRequest for DeleteEndpoint {
    type Output = bool;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<bool>, DbErr> {
        transaction.webhooks.endpoints_changed();
        let BatchTransaction { db, now, .. } = transaction;
        manage::delete(db, self.0, *now).await.map(Some)
    }
}

impl Store {
    /// Deletes an endpoint and its messages; false if there is none with this id.
    pub fn delete_endpoint(&self, id: Uuid) -> PendingWrite<bool> {
        self.writes.submit(DeleteEndpoint(id))
    }
}
