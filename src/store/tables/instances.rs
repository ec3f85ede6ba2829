//! The table `instances`: the incarnations of gateways on a server, live and dead.
//!
//! Each incarnation has a row of its own. Every batch first counts up `renewals` in that row *where it is live*:
//! nothing of an incarnation that was declared dead is ever committed, and another instance that reads the row twice
//! sees whether it is renewed. So no clocks of two hosts are compared.

use sea_orm::{
    ColumnTrait, ConnectionTrait, DbErr, EntityTrait, QueryFilter, QuerySelect, Statement,
    sea_query::{Expr, LockBehavior, LockType},
};

use crate::{
    domain::IncarnationId,
    store::{
        Store, StoreError,
        database::Transaction,
        entities::instance::{Column, DEAD, Entity, LIVE},
        error::CommitError,
    },
};

/// Another live instance on the same database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its incarnation.
    pub id: IncarnationId,
    /// Its name.
    pub name: String,
    /// How often it has committed.
    pub renewals: i64,
}

/// A peer that stopped renewing its row: declared dead unless it has committed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StalledPeer {
    /// Its incarnation.
    pub id: IncarnationId,
    /// How often it had committed when it was seen last.
    pub renewals: i64,
}

/// The instances on this database, as of a commit of this one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Membership {
    /// The other live instances.
    pub peers: Vec<Peer>,
    /// Dead incarnations, which vehicles may still name as their holder.
    pub dead: Vec<IncarnationId>,
    /// The names of the peers that this request declared dead.
    pub declared_dead: Vec<String>,
}

/// The number of a batch among those of its incarnation.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct BatchNumber {
    pub(in crate::store) incarnation: IncarnationId,
    pub(in crate::store) number: i64,
    /// The number of the batch that has to be the last one stored when this one is written.
    pub(in crate::store) after: i64,
}

/// Renews the row of an incarnation for a batch, in the first round trip of the batch together with its BEGIN, and
/// returns the version of the set of webhook endpoints. Fails with [`CommitError::IncarnationLost`] if the incarnation
/// was declared dead, and with [`CommitError::OtherBatch`] if `batch.after` is not the last one that is stored: then
/// nothing of this batch may be written.
pub(in crate::store) async fn renew(
    db: &Transaction,
    batch: BatchNumber,
) -> Result<i64, CommitError> {
    let BatchNumber {
        incarnation,
        number,
        after,
    } = batch;
    let backend = db.get_database_backend();
    // Text without values, since only that can share a round trip. An id and a number need no quoting.
    let renew = format!(
        "UPDATE instances SET renewals = renewals + 1, batch = {number} \
         WHERE id = '{incarnation}' AND state = '{LIVE}' AND batch = {after}"
    );
    db.defer(Statement::from_string(backend, renew)).await?;
    let read = format!(
        "SELECT version, (SELECT batch FROM instances WHERE id = '{incarnation}' AND state = '{LIVE}') \
         FROM webhook_set WHERE id = 1"
    );
    let row = db
        .query_one_raw(Statement::from_string(backend, read))
        .await?
        .ok_or_else(|| DbErr::Custom("table webhook_set is empty".to_owned()))?;
    let stored: Option<i64> = row.try_get_by_index(1)?;
    match stored {
        Some(stored) if stored == number => Ok(row.try_get_by_index(0)?),
        Some(other) => Err(CommitError::OtherBatch(other)),
        None => Err(CommitError::IncarnationLost),
    }
}

/// The number of the batch that an incarnation committed last: tells whether a batch is stored whose COMMIT was not
/// answered. Waits for the lock of the row, because a COMMIT that is still on its way, or that the server is still
/// working on, may yet succeed.
pub(in crate::store) async fn last_batch(
    db: &impl ConnectionTrait,
    incarnation: IncarnationId,
) -> Result<Option<i64>, DbErr> {
    Entity::find_by_id(incarnation.to_string())
        .select_only()
        .column(Column::Batch)
        .lock_exclusive()
        .into_tuple()
        .one(db)
        .await
}

/// Declares those of the `stalled` peers dead that have not renewed their row since, and returns their names.
pub(in crate::store) async fn declare_dead(
    db: &Transaction,
    stalled: &[StalledPeer],
) -> Result<Vec<String>, DbErr> {
    let mut declared = Vec::new();
    for peer in stalled {
        // A locked row is skipped: it is being renewed, by a batch that may yet commit.
        let row = Entity::find_by_id(peer.id.to_string())
            .filter(Column::State.eq(LIVE))
            .filter(Column::Renewals.eq(peer.renewals))
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .one(db)
            .await?;
        if let Some(row) = row {
            Entity::update_many()
                .col_expr(Column::State, Expr::value(DEAD))
                .filter(Column::Id.eq(&row.id))
                .exec(db)
                .await?;
            declared.push(row.name);
        }
    }
    Ok(declared)
}

/// Deletes the rows of dead incarnations.
pub(in crate::store) async fn remove(
    db: &Transaction,
    dead: &[IncarnationId],
) -> Result<(), DbErr> {
    if dead.is_empty() {
        return Ok(());
    }
    Entity::delete_many()
        .filter(Column::Id.is_in(dead.iter().map(IncarnationId::to_string)))
        .filter(Column::State.eq(DEAD))
        .exec(db)
        .await
        .map(drop)
}

/// Reads the live incarnations other than `own`, and the dead ones.
pub(in crate::store) async fn membership(
    db: &Transaction,
    own: IncarnationId,
) -> Result<Membership, DbErr> {
    let mut membership = Membership::default();
    for row in Entity::find().all(db).await? {
        // No gateway wrote such a row.
        let Ok(id) = row.id.parse() else { continue };
        if row.state == DEAD {
            membership.dead.push(id);
        } else if id != own {
            membership.peers.push(Peer {
                id,
                name: row.name,
                renewals: row.renewals,
            });
        }
    }
    Ok(membership)
}

/// Marks an incarnation as dead whose sessions are over, so that its peers need not wait for the end of its lease.
pub(in crate::store) async fn retire(
    db: &impl ConnectionTrait,
    incarnation: IncarnationId,
) -> Result<(), DbErr> {
    Entity::update_many()
        .col_expr(Column::State, Expr::value(DEAD))
        .filter(Column::Id.eq(incarnation.to_string()))
        .exec(db)
        .await
        .map(drop)
}

impl Store {
    /// The live incarnations; none on a file.
    pub async fn live_instances(&self) -> Result<Vec<IncarnationId>, StoreError> {
        let ids: Vec<String> = Entity::find()
            .select_only()
            .column(Column::Id)
            .filter(Column::State.eq(LIVE))
            .into_tuple()
            .all(&self.reader)
            .await?;
        Ok(ids.iter().filter_map(|id| id.parse().ok()).collect())
    }
}
