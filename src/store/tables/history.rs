//! Pages of a vehicle's history, by key and not by offset (keyset pagination): rows that are added do not shift a page.

use sea_orm::{ColumnTrait, Condition};

use crate::domain::Timestamp;

/// The place of an entry in a history, which runs from new to old.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// When the entry was received.
    pub received_at: Timestamp,
    /// Its id, which distinguishes entries of one millisecond.
    pub id: i64,
}

/// A part of a vehicle's history, newest first.
#[derive(Debug, Clone, Copy)]
pub struct HistoryPage {
    /// Received at this time or later.
    pub from: Option<Timestamp>,
    /// Received before this time.
    pub to: Option<Timestamp>,
    /// Only what is older than this entry.
    pub older_than: Option<Position>,
    /// At most this many entries.
    pub limit: u64,
}

impl HistoryPage {
    /// The condition that selects the rows of the page, given the columns of their time and id. History up to
    /// `forget_through` is hidden.
    pub(super) fn condition<C: ColumnTrait>(
        &self,
        received_at: C,
        id: C,
        forget_through: Option<i64>,
    ) -> Condition {
        Condition::all()
            .add_option(forget_through.map(|through| received_at.gt(through)))
            .add_option(self.from.map(|from| received_at.gte(from.as_millis())))
            .add_option(self.to.map(|to| received_at.lt(to.as_millis())))
            .add_option(self.older_than.map(|position| {
                let at = position.received_at.as_millis();
                // The first comparison lets the database find the place in the index; the others only order entries of
                // the same time.
                Condition::all().add(received_at.lte(at)).add(
                    Condition::any()
                        .add(received_at.lt(at))
                        .add(id.lt(position.id)),
                )
            }))
    }
}
