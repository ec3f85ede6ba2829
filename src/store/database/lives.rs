//! Lives of gateways on a server: who may write there, and who is still there.
//!
//! Each start of a gateway is a life with a row of its own. Every batch of writes first counts up that row
//! *where it is live*: nothing of a life that was declared dead is ever committed, and whoever looks at the
//! row twice sees whether it is alive. No clock is compared with another's.

use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbErr, EntityTrait,
    QueryFilter, QuerySelect, TransactionTrait,
    sea_query::{Expr, ExprTrait, LockBehavior, LockType},
};
use uuid::Uuid;

use crate::store::{
    entities::instance,
    intent::{Membership, Peer, StalledPeer},
};

/// A life, as its row has it.
#[derive(Debug, Clone)]
pub(in crate::store) struct Life {
    pub(in crate::store) id: Uuid,
    /// What stays over lives.
    pub(in crate::store) name: String,
}

/// This life was declared dead: it must not write any more.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct Fenced;

/// Makes this the life of its name: an earlier one is dead from now on.
pub(super) async fn announce(db: &DatabaseConnection, life: &Life) -> Result<(), DbErr> {
    use instance::Column as C;
    let transaction = db.begin().await?;
    instance::Entity::update_many()
        .col_expr(C::State, Expr::value(instance::DEAD))
        .filter(C::Name.eq(&life.name))
        .filter(C::State.eq(instance::LIVE))
        .exec(&transaction)
        .await?;
    insert(&transaction, life).await?;
    transaction.commit().await
}

/// What became of an attempt to begin another life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Succession {
    /// It has begun.
    Begun,
    /// An earlier attempt had begun it without an answer, and others have declared it dead since.
    Over,
    /// A newer start has taken the name.
    Taken,
}

/// Makes this another life of its name, the last of which was declared dead. Nobody else may begin at the same
/// time.
pub(super) async fn succeed(db: &DatabaseConnection, life: &Life) -> Result<Succession, DbErr> {
    use instance::Column as C;
    let id = life.id.to_string();
    let known = instance::Entity::find()
        .filter(C::Name.eq(&life.name))
        .filter(C::State.eq(instance::LIVE).or(C::Id.eq(&id)))
        .all(db)
        .await?;
    if let Some(own) = known.iter().find(|row| row.id == id) {
        // Stored by an attempt whose answer was lost.
        let is_live = own.state == instance::LIVE;
        return Ok(if is_live {
            Succession::Begun
        } else {
            Succession::Over
        });
    }
    if !known.is_empty() {
        return Ok(Succession::Taken);
    }
    insert(db, life).await?;
    Ok(Succession::Begun)
}

async fn insert(db: &impl ConnectionTrait, life: &Life) -> Result<(), DbErr> {
    let row = instance::ActiveModel {
        id: Set(life.id.to_string()),
        name: Set(life.name.clone()),
        state: Set(instance::LIVE.to_owned()),
        renewals: Set(0),
        batch: Set(0),
    };
    instance::Entity::insert(row)
        .exec_without_returning(db)
        .await
        .map(drop)
}

/// The first thing in a batch: nothing of a life that is dead is committed.
pub(in crate::store) async fn renew(
    db: &DatabaseTransaction,
    life: Uuid,
    batch: i64,
) -> Result<Result<(), Fenced>, DbErr> {
    use instance::Column as C;
    let renewed = instance::Entity::update_many()
        .col_expr(C::Renewals, Expr::col(C::Renewals).add(1))
        .col_expr(C::Batch, Expr::value(batch))
        .filter(C::Id.eq(life.to_string()))
        .filter(C::State.eq(instance::LIVE))
        .exec(db)
        .await?;
    Ok(if renewed.rows_affected == 1 {
        Ok(())
    } else {
        Err(Fenced)
    })
}

/// The number of the batch that this life committed last: tells whether one is stored whose COMMIT was not
/// answered. Waits for the lock of the row: a COMMIT that is still on its way, or that the server has not
/// done with, may yet succeed.
pub(in crate::store) async fn last_batch(
    db: &impl ConnectionTrait,
    life: Uuid,
) -> Result<Option<i64>, DbErr> {
    instance::Entity::find_by_id(life.to_string())
        .select_only()
        .column(instance::Column::Batch)
        .lock_exclusive()
        .into_tuple()
        .one(db)
        .await
}

/// Declares those of `stalled` dead that have committed nothing since, forgets those that are `buried`, and
/// tells who is there.
pub(in crate::store) async fn roll_call(
    db: &DatabaseTransaction,
    life: Uuid,
    stalled: &[StalledPeer],
    buried: &[Uuid],
) -> Result<Membership, DbErr> {
    use instance::Column as C;
    let mut declared = Vec::new();
    for suspect in stalled {
        // Whoever holds the row is writing, and may yet commit.
        let silent = instance::Entity::find_by_id(suspect.id.to_string())
            .filter(C::State.eq(instance::LIVE))
            .filter(C::Renewals.eq(suspect.renewals))
            .lock_with_behavior(LockType::Update, LockBehavior::SkipLocked)
            .one(db)
            .await?;
        if let Some(silent) = silent {
            instance::Entity::update_many()
                .col_expr(C::State, Expr::value(instance::DEAD))
                .filter(C::Id.eq(&silent.id))
                .exec(db)
                .await?;
            declared.push(silent.name);
        }
    }
    if !buried.is_empty() {
        instance::Entity::delete_many()
            .filter(C::Id.is_in(buried.iter().map(Uuid::to_string)))
            .filter(C::State.eq(instance::DEAD))
            .exec(db)
            .await?;
    }
    let mut membership = Membership {
        declared_dead: declared,
        ..Membership::default()
    };
    let own = life.to_string();
    for row in instance::Entity::find().all(db).await? {
        // Not of our making.
        let Ok(id) = row.id.parse() else { continue };
        if row.state == instance::DEAD {
            membership.dead.push(id);
        } else if row.id != own {
            membership.peers.push(Peer {
                id,
                name: row.name,
                renewals: row.renewals,
            });
        }
    }
    Ok(membership)
}

/// Ends this life, whose sessions are over: nobody needs to find out.
pub(in crate::store) async fn retire(db: &DatabaseConnection, life: Uuid) -> Result<(), DbErr> {
    use instance::Column as C;
    instance::Entity::update_many()
        .col_expr(C::State, Expr::value(instance::DEAD))
        .filter(C::Id.eq(life.to_string()))
        .exec(db)
        .await
        .map(drop)
}
