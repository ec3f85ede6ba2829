use sea_orm::DbErr;

use crate::store::{
    PendingWrite, Store,
    webhooks::{NewEndpoint, configure::configure},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

/// Bytes that an endpoint of the settings takes in the queue.
const CONFIGURED_ENDPOINT_BYTES: usize = 1024;

struct ConfigureEndpoints(Vec<NewEndpoint>);

impl WriteRequest for ConfigureEndpoints {
    type Output = ();

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    fn payload_bytes(&self) -> usize {
        self.0.len() * CONFIGURED_ENDPOINT_BYTES
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<()>, DbErr> {
        transaction.webhooks.endpoints_changed();
        let BatchTransaction { db, now, .. } = transaction;
        configure(db, &self.0, *now).await.map(Some)
    }
}

impl Store {
    /// Makes these the endpoints that the settings define: creates those that are missing, changes the others, and
    /// deletes configured ones that are not among them.
    pub fn configure_endpoints(&self, endpoints: Vec<NewEndpoint>) -> PendingWrite<()> {
        self.writes.submit(ConfigureEndpoints(endpoints))
    }
}
