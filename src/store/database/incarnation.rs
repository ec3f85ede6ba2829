//! Begins an incarnation of this gateway on a server: inserts its row into `instances`. The incarnation may write while
//! that row is live.

use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, DatabaseConnection, DbErr, EntityTrait,
    ExprTrait, QueryFilter, TransactionTrait, sea_query::Expr,
};

use crate::{
    domain::IncarnationId,
    store::entities::instance::{ActiveModel, Column, DEAD, Entity, LIVE},
};

/// One incarnation of this instance. It begins at the start of the process, or when the one before it was declared
/// dead.
#[derive(Debug, Clone)]
pub(in crate::store) struct Incarnation {
    pub(in crate::store) id: IncarnationId,
    /// The name of the instance, which all its incarnations share.
    pub(in crate::store) name: String,
}

/// Begins this incarnation. An earlier one of the same name is dead from now on.
pub(super) async fn begin(db: &DatabaseConnection, incarnation: &Incarnation) -> Result<(), DbErr> {
    let transaction = db.begin().await?;
    Entity::update_many()
        .col_expr(Column::State, Expr::value(DEAD))
        .filter(Column::Name.eq(&incarnation.name))
        .filter(Column::State.eq(LIVE))
        .exec(&transaction)
        .await?;
    insert(&transaction, incarnation).await?;
    transaction.commit().await
}

/// The outcome of an attempt to begin the incarnation after one that was declared dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Succession {
    /// The incarnation has begun.
    Begun,
    /// An earlier attempt, whose answer was lost, had begun it, and it has been declared dead since.
    Over,
    /// A gateway that was started later has the name.
    Taken,
}

/// Begins the next incarnation after one that was declared dead. The caller holds the start lock of the database, which
/// `server.rs` takes.
pub(super) async fn succeed(
    db: &DatabaseConnection,
    next: &Incarnation,
) -> Result<Succession, DbErr> {
    let id = next.id.to_string();
    let known = Entity::find()
        .filter(Column::Name.eq(&next.name))
        .filter(Column::State.eq(LIVE).or(Column::Id.eq(&id)))
        .all(db)
        .await?;
    if let Some(own) = known.iter().find(|row| row.id == id) {
        // An earlier attempt, whose answer was lost, has inserted it.
        return Ok(if own.state == LIVE {
            Succession::Begun
        } else {
            Succession::Over
        });
    }
    if !known.is_empty() {
        return Ok(Succession::Taken);
    }
    insert(db, next).await?;
    Ok(Succession::Begun)
}

async fn insert(db: &impl ConnectionTrait, incarnation: &Incarnation) -> Result<(), DbErr> {
    let row = ActiveModel {
        id: Set(incarnation.id.to_string()),
        name: Set(incarnation.name.clone()),
        state: Set(LIVE.to_owned()),
        renewals: Set(0),
        batch: Set(0),
    };
    Entity::insert(row)
        .exec_without_returning(db)
        .await
        .map(drop)
}
