use sea_orm::DbErr;

use super::ENDPOINT_BYTES;
use crate::store::{
    PendingWrite, Store,
    webhooks::{Endpoint, NewEndpoint, manage},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct CreateEndpoint(NewEndpoint);

impl WriteRequest for CreateEndpoint {
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
        manage::create(db, &self.0, *now).await.map(Some)
    }
}

impl Store {
    /// Creates an endpoint; `None` if there are 100 already.
    pub fn create_endpoint(&self, endpoint: NewEndpoint) -> PendingWrite<Option<Endpoint>> {
        self.writes.submit(CreateEndpoint(endpoint))
    }
}
