use sea_orm::DbErr;

use crate::{
    access::{ApiKey, KeyId},
    store::{
        PendingWrite, Store,
        tables::api_keys,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

struct RevokeKey(KeyId);

impl WriteRequest for RevokeKey {
    type Output = Option<ApiKey>;

    const PHASE: Option<Phase> = Some(Phase::Administration);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<Option<ApiKey>>, DbErr> {
        let now = transaction.now;
        let mut is_revoked = false;
        let key = api_keys::change(transaction.db, &self.0, |key| {
            is_revoked = key.revoked_at.is_none();
            key.revoked_at.get_or_insert(now);
            is_revoked
        });
        Ok(Some(key.await?.filter(|_| is_revoked)))
    }
}

impl Store {
    /// Revokes a key and returns it; `None` if there is none with this id that is not revoked.
    pub fn revoke_key(&self, id: KeyId) -> PendingWrite<Option<ApiKey>> {
        self.writes.submit(RevokeKey(id))
    }
}
