//! Statements about many rows. Numbers of rows are powers of two, so that there are few texts, and each is prepared
//! once.

use std::collections::HashMap;

use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, EntityTrait, Statement,
    sea_query::{InsertStatement, IntoIden, OnConflict, Query, Value},
};

use super::database::Transaction;

/// Values a statement writes at most: a prepared statement takes memory for each.
const VALUES_PER_INSERT: usize = 2_048;

/// The texts of INSERT statements, by table, number of columns, number of rows, and whether they update on conflict.
/// Kept because building one costs more than running it.
#[derive(Debug, Default)]
pub(super) struct Texts(HashMap<(&'static str, usize, usize, bool), String>);

impl Texts {
    fn get<E: EntityTrait>(
        &mut self,
        columns: usize,
        rows: usize,
        upserting: bool,
        backend: DbBackend,
        build: impl FnOnce() -> InsertStatement,
    ) -> &str {
        let shape = (E::default().table_name(), columns, rows, upserting);
        self.0
            .entry(shape)
            .or_insert_with(|| backend.build(&build()).sql)
    }
}

/// Inserts rows. `values` returns the values of one row, in the order of `columns`.
pub(super) async fn insert<E: EntityTrait, R, V: IntoIterator<Item = Value>>(
    db: &Transaction,
    texts: &mut Texts,
    rows: &[R],
    columns: &[E::Column],
    values: impl Fn(&R) -> V,
) -> Result<(), DbErr> {
    for run in runs(rows, columns.len()) {
        let text = texts.get::<E>(
            columns.len(),
            run.len(),
            false,
            db.get_database_backend(),
            || insert_into::<E>(columns, run.len()),
        );
        execute(db, text, run.iter().flat_map(&values).collect()).await?;
    }
    Ok(())
}

/// Inserts rows; of those that exist it updates the columns behind the key. The first `keys` of `columns` are the
/// primary key. `values` returns the values of one row, in the order of `columns`.
pub(super) async fn upsert<E: EntityTrait, R, V: IntoIterator<Item = Value>>(
    db: &Transaction,
    texts: &mut Texts,
    rows: &[R],
    columns: &[E::Column],
    keys: usize,
    values: impl Fn(&R) -> V,
) -> Result<(), DbErr> {
    for run in runs(rows, columns.len()) {
        let text = texts.get::<E>(
            columns.len(),
            run.len(),
            true,
            db.get_database_backend(),
            || {
                let mut insert = insert_into::<E>(columns, run.len());
                let (keys, others) = columns.split_at(keys);
                insert.on_conflict(
                    OnConflict::columns(keys.iter().map(|column| column.into_iden()))
                        .update_columns(others.iter().map(|column| column.into_iden()))
                        .to_owned(),
                );
                insert
            },
        );
        execute(db, text, run.iter().flat_map(&values).collect()).await?;
    }
    Ok(())
}

/// An INSERT of `rows` rows, with placeholders for their values.
fn insert_into<E: EntityTrait>(columns: &[E::Column], rows: usize) -> InsertStatement {
    let mut insert = Query::insert();
    insert
        .into_table(E::default())
        .columns(columns.iter().copied());
    for _ in 0..rows {
        insert.values_panic(columns.iter().map(|_| Value::BigInt(None).into()));
    }
    insert
}

async fn execute(db: &Transaction, text: &str, values: Vec<Value>) -> Result<(), DbErr> {
    db.defer(Statement::from_sql_and_values(
        db.get_database_backend(),
        text,
        values,
    ))
    .await
}

/// Cuts rows of `columns` columns into runs whose lengths are powers of two, the longest first.
fn runs<T>(mut rows: &[T], columns: usize) -> impl Iterator<Item = &[T]> {
    let most = 1 << (VALUES_PER_INSERT / columns).ilog2();
    std::iter::from_fn(move || {
        let largest = rows.len().checked_ilog2().map(|log| 1 << log)?;
        let (run, rest) = rows.split_at(most.min(largest));
        rows = rest;
        Some(run)
    })
}

/// The keys for an `IN` list: the last is repeated until their number is a power of two, so that few statements are
/// prepared.
pub(super) fn padded<T: Clone>(keys: &[T]) -> impl Iterator<Item = T> + use<'_, T> {
    let missing = keys.len().next_power_of_two() - keys.len();
    let last = keys.last().cloned().into_iter();
    let repeats = last.flat_map(move |last| std::iter::repeat_n(last, missing));
    keys.iter().cloned().chain(repeats)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_powers_of_two_in_order_and_leave_nothing_out() {
        for length in [0_usize, 1, 2, 3, 7, 255, 256, 257, 1000] {
            for columns in [1, 6, 8, 21] {
                let rows: Vec<usize> = (0..length).collect();
                let runs: Vec<&[usize]> = runs(&rows, columns).collect();
                assert!(runs.iter().all(|run| run.len().is_power_of_two()));
                assert!(
                    runs.iter()
                        .all(|run| run.len() * columns <= VALUES_PER_INSERT)
                );
                assert_eq!(runs.concat(), rows);
            }
        }
    }
}
