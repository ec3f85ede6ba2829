use std::time::Duration;

use sea_orm::DbErr;
use uuid::Uuid;

use super::ENDPOINT_BYTES;
use crate::store::{
    PendingWrite, Store,
    webhooks::{Endpoint, SecretText, manage},
    write_request::{BatchTransaction, Phase, WriteRequest},
};

struct RotateSecret {
    id: Uuid,
    secret: SecretText,
    overlap: Duration,
}

impl WriteRequest for RotateSecret {
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
        let rotated = manage::rotate_secret(db, self.id, &self.secret, self.overlap, *now);
        rotated.await.map(Some)
    }
}

impl Store {
    /// Gives an endpoint a new secret and returns it; the previous one signs messages as well for `overlap`. `None` if
    /// there is none with this id.
    pub fn rotate_endpoint_secret(
        &self,
        id: Uuid,
        secret: SecretText,
        overlap: Duration,
    ) -> PendingWrite<Option<Endpoint>> {
        self.writes.submit(RotateSecret {
            id,
            secret,
            overlap,
        })
    }
}
