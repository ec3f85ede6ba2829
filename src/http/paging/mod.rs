//! Lists in pages.

mod cursor;
mod history;
mod limit;
mod timestamp;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

pub(crate) use cursor::{
    AuditPosition, CommandPosition, MessagePosition, PageCursor, VehiclePosition,
};
pub(crate) use history::HistoryQuery;
pub(crate) use limit::Limit;
pub(crate) use timestamp::{parse_timestamp, timestamp_parameter};

use crate::api_model::{Example, every_key_present};

/// One page of a list.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "{T}Page", transform = every_key_present)]
pub(crate) struct Page<T> {
    /// The entries.
    items: Vec<T>,
    /// The `cursor` of the next page; null on the last page.
    next_cursor: Option<String>,
}

impl<T> Page<T> {
    /// A list that is always one page.
    pub(crate) fn all(items: Vec<T>) -> Self {
        Self {
            items,
            next_cursor: None,
        }
    }

    /// A page of `entries`, of which up to [`Limit::plus_one`] were queried. If there is one more than the limit, it is
    /// left to the next page, which begins after the `position` of this page's last entry.
    pub(crate) fn new<E, P: PageCursor>(
        mut entries: Vec<E>,
        limit: Limit,
        position: impl FnOnce(&E) -> P,
        item: impl FnMut(E) -> T,
    ) -> Self {
        let more = entries.len() > limit.entries();
        entries.truncate(limit.entries());
        let last = entries.last().filter(|_| more);
        Self {
            next_cursor: last.map(|last| position(last).encode()),
            items: entries.into_iter().map(item).collect(),
        }
    }
}

impl<T: Example> Example for Page<T> {
    fn example() -> Value {
        json!({ "items": [T::example()], "nextCursor": null })
    }
}
