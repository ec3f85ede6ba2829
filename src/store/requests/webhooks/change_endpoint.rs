use sea_orm::DbErr;
use uuid::Uuid;

use super::ENDPOINT_BYTES;
use crate::store::{
    PendingWrite, Store,
    webhooks::{Endpoint, EndpointPatch, manage},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct ChangeEndpoint {
    id: Uuid,
    patch: EndpointPatch,
}

impl WriteRequest for ChangeEndpoint {
    type Output = Option<Endpoint>;

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        ENDPOINT_BYTES
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<Option<Endpoint>>, DbErr> {
        transaction.webhooks.endpoints_changed();
        let BatchTransaction { db, now, .. } = transaction;
        let changed = manage::change(db, self.id, &self.patch, *now);
        changed.await.map(Some)
    }
}

impl Store {
    /// Changes an endpoint and returns it; `None` if there is none with this id.
    pub fn change_endpoint(
        &self,
        id: Uuid,
        patch: EndpointPatch,
    ) -> PendingWrite<Option<Endpoint>> {
        self.writes.submit(ChangeEndpoint { id, patch })
    }
}
