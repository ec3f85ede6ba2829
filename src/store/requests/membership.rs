use sea_orm::DbErr;

use crate::{
    domain::IncarnationId,
    store::{
        PendingWrite, Store,
        tables::instances::{self, Membership, StalledPeer},
        write_request::{BatchTransaction, Phase, WriteRequest},
    },
};

struct UpdateMembership {
    stalled: Vec<StalledPeer>,
    removed: Vec<IncarnationId>,
}

impl WriteRequest for UpdateMembership {
    type Output = Membership;

    const PHASE: Option<Phase> = Some(Phase::Instances);

    fn is_urgent(&self) -> bool {
        true
    }

    async fn execute(
        &self,
        transaction: &mut BatchTransaction<'_>,
    ) -> Result<Option<Membership>, DbErr> {
        let db = transaction.db;
        let declared_dead = instances::declare_dead(db, &self.stalled).await?;
        instances::remove(db, &self.removed).await?;
        let membership = instances::membership(db, transaction.incarnation).await?;
        transaction.clock.read(db).await?;
        Ok(Some(Membership {
            declared_dead,
            ..membership
        }))
    }
}

impl Store {
    /// Declares those of the `stalled` peers dead that have committed nothing since, deletes the rows of the dead
    /// incarnations in `removed`, which hold no vehicle any more, and returns the live and the dead incarnations. Reads
    /// the database's clock as well. On a server only.
    pub fn update_membership(
        &self,
        stalled: Vec<StalledPeer>,
        removed: Vec<IncarnationId>,
    ) -> PendingWrite<Membership> {
        self.writes.submit(UpdateMembership { stalled, removed })
    }
}
