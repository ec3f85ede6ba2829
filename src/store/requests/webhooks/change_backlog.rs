use sea_orm::DbErr;
use uuid::Uuid;

use crate::{
    state::Backlog,
    store::{
        PendingWrite, Store,
        webhooks::backlog,
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

/// A change of an endpoint's backlog.
enum ChangeBacklog {
    Recover(Uuid),
    CaughtUp(Uuid, Backlog),
}

impl WriteRequest for ChangeBacklog {
    type Output = ();

    const PHASE: Option<Phase> = Some(Phase::Webhooks);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(&self, transaction: &mut BatchTransaction<'_>) -> Result<Option<()>, DbErr> {
        let BatchTransaction { db, now, .. } = transaction;
        match self {
            Self::Recover(id) => backlog::recover(db, *id, *now).await.map(drop)?,
            Self::CaughtUp(id, known) => backlog::caught_up(db, *id, *known).await?,
        }
        transaction.webhooks.endpoints_changed();
        Ok(Some(()))
    }
}

impl Store {
    /// Stores state changes for an endpoint again that is behind, and lets it catch up.
    pub fn recover_backlog(&self, endpoint_id: Uuid) -> PendingWrite<()> {
        self.writes.submit(ChangeBacklog::Recover(endpoint_id))
    }

    /// Notes that an endpoint with the backlog `known` has caught up.
    pub fn caught_up(&self, endpoint_id: Uuid, known: Backlog) -> PendingWrite<()> {
        let change = ChangeBacklog::CaughtUp(endpoint_id, known);
        self.writes.submit(change)
    }
}
