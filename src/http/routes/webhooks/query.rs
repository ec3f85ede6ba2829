//! The queries of webhook messages.

use schemars::SchemaGenerator;

use crate::{
    api_model::Named,
    domain::{MessageState, Timestamp},
    http::{
        extract::{FromQuery, QueryFields, QueryParameter},
        paging::{Limit, MessagePosition, PageCursor, parse_timestamp, timestamp_parameter},
    },
    webhooks::MessagePage,
};

/// The query of the list of messages.
#[derive(Debug)]
pub(super) struct MessageQuery {
    state: MessageState,
    before: Option<MessagePosition>,
    pub(super) limit: Limit,
}

impl MessageQuery {
    /// The query of the store, with one entry more than the page holds.
    pub(super) fn page(&self) -> MessagePage {
        MessagePage {
            state: self.state,
            before: self.before.map(|MessagePosition(id)| id),
            limit: self.limit.plus_one(),
        }
    }
}

impl FromQuery for MessageQuery {
    fn parameters(generator: &mut SchemaGenerator) -> Vec<QueryParameter> {
        let mut status = generator.subschema_for::<Named<MessageState>>();
        status.insert("default".to_owned(), "pending".into());
        vec![
            QueryParameter {
                name: "status",
                description: "Only messages with this status.",
                schema: status,
            },
            Limit::parameter(),
            MessagePosition::parameter(),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        let state = fields.take("status", |text| {
            let named = text.parse();
            named.map_err(|_| "must be pending, delivered or failed")
        });
        Self {
            state: state.unwrap_or(MessageState::Pending),
            before: MessagePosition::take(fields),
            limit: Limit::take(fields),
        }
    }
}

/// The query of a retry of failed messages.
#[derive(Debug)]
pub(super) struct RetryQuery {
    /// Only messages that failed at or after this time.
    pub(super) since: Timestamp,
}

impl FromQuery for RetryQuery {
    fn parameters(_: &mut SchemaGenerator) -> Vec<QueryParameter> {
        vec![timestamp_parameter(
            "since",
            "Only messages that failed at or after this time (RFC 3339; write `+` as `%2B`).",
        )]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        let since = fields.take("since", parse_timestamp);
        Self {
            since: since.unwrap_or(Timestamp::from_millis(0)),
        }
    }
}
