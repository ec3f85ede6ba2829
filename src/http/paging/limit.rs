//! The number of entries of a page.

use schemars::json_schema;

use crate::http::extract::{QueryFields, QueryParameter};

const DEFAULT_LIMIT: u16 = 100;
const MAX_LIMIT: u16 = 1000;
const INVALID_LIMIT: &str = "must be a whole number from 1 to 1000";

/// The largest number of entries of a page.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit(u16);

impl Limit {
    pub(super) fn entries(self) -> usize {
        self.0.into()
    }

    /// The number of entries to query: one more than the page holds, which tells whether there is a next page.
    pub(crate) fn plus_one(self) -> u64 {
        u64::from(self.0) + 1
    }

    /// The query parameter `limit`.
    pub(crate) fn parameter() -> QueryParameter {
        QueryParameter {
            name: "limit",
            description: "The maximum number of entries of the page.",
            schema: json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT }),
        }
    }

    /// Takes the query parameter `limit`.
    pub(crate) fn take(fields: &mut QueryFields) -> Self {
        let limit = fields.take_whole_number("limit", 1..=MAX_LIMIT, INVALID_LIMIT);
        Self(limit.unwrap_or(DEFAULT_LIMIT))
    }
}
