//! The query of a vehicle's history: reports, debug blobs, commands.

use schemars::SchemaGenerator;

use super::{
    cursor::{CommandPosition, PageCursor},
    limit::Limit,
    timestamp::{parse_timestamp, timestamp_parameter},
};
use crate::{
    domain::Timestamp,
    http::extract::{FromQuery, QueryFields, QueryParameter},
    vehicles::{CommandPage, HistoryPage, Position},
};

/// The query of a vehicle's history, whose entries have keys of type `P`.
#[derive(Debug)]
pub(crate) struct HistoryQuery<P> {
    from: Option<Timestamp>,
    to: Option<Timestamp>,
    older_than: Option<P>,
    pub(crate) limit: Limit,
}

impl HistoryQuery<Position> {
    /// The query of the store, with one entry more than the page holds.
    pub(crate) fn page(&self) -> HistoryPage {
        HistoryPage {
            from: self.from,
            to: self.to,
            older_than: self.older_than,
            limit: self.limit.plus_one(),
        }
    }
}

impl HistoryQuery<CommandPosition> {
    /// The query of the store, with one entry more than the page holds.
    pub(crate) fn page(&self) -> CommandPage {
        CommandPage {
            from: self.from,
            to: self.to,
            older_than: self.older_than.map(|CommandPosition(id)| id),
            limit: self.limit.plus_one(),
        }
    }
}

impl<P: PageCursor> FromQuery for HistoryQuery<P> {
    fn parameters(_: &mut SchemaGenerator) -> Vec<QueryParameter> {
        vec![
            timestamp_parameter(
                "from",
                "Only entries at or after this time (RFC 3339; write `+` as `%2B`).",
            ),
            timestamp_parameter(
                "to",
                "Only entries before this time (RFC 3339; write `+` as `%2B`).",
            ),
            Limit::parameter(),
            P::parameter(),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        Self {
            from: fields.take("from", parse_timestamp),
            to: fields.take("to", parse_timestamp),
            older_than: P::take(fields),
            limit: Limit::take(fields),
        }
    }
}
