//! Deletes old rows, in steps so small that no report waits long for one of them.

use sea_orm::{
    ColumnTrait, Condition, DbErr, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    TryGetableMany, sea_query::Value,
};

use crate::store::database::Transaction;

/// Rows of a table that one step deletes at most.
pub(super) const ROWS_PER_STEP: u64 = 500;

/// Reads the ids and `columns` of at most [`ROWS_PER_STEP`] rows, those with the lowest ids. Ids ascend with time, so
/// these are the oldest without an index on the time.
pub(super) async fn oldest<E: EntityTrait, T: TryGetableMany>(
    db: &Transaction,
    id: E::Column,
    columns: &[E::Column],
) -> Result<Vec<T>, DbErr> {
    E::find()
        .select_only()
        .column(id)
        .columns(columns.iter().copied())
        .order_by_asc(id)
        .limit(ROWS_PER_STEP)
        .into_tuple()
        .all(db)
        .await
}

/// The `columns` of at most [`ROWS_PER_STEP`] rows that `is_deleted` selects: rows of deleted vehicles.
pub(super) async fn of_deleted<E: EntityTrait, T: TryGetableMany>(
    db: &Transaction,
    columns: &[E::Column],
    is_deleted: Condition,
) -> Result<Vec<T>, DbErr> {
    E::find()
        .select_only()
        .columns(columns.iter().copied())
        .filter(is_deleted)
        .limit(ROWS_PER_STEP)
        .into_tuple()
        .all(db)
        .await
}

/// Deletes rows by their ids and returns how many it deleted.
pub(super) async fn delete<E: EntityTrait, I: Into<Value>>(
    db: &Transaction,
    id: E::Column,
    ids: Vec<I>,
) -> Result<u64, DbErr> {
    if ids.is_empty() {
        return Ok(0);
    }
    let deleted = E::delete_many().filter(id.is_in(ids)).exec(db).await?;
    Ok(deleted.rows_affected)
}
