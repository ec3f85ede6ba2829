//! What the lists of messages take from the query.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use schemars::json_schema;
use strum::VariantNames;
use uuid::Uuid;

use crate::{
    domain::Timestamp,
    http::{
        extract::{FromQuery, QueryFields, QueryParameter},
        paging::{Cursor, Limit, cursor_parameter, instant_parameter, parse_instant, take_cursor},
    },
    webhooks::{MessagePage, MessageState},
};

/// The query of the list of messages.
#[derive(Debug)]
pub(super) struct MessageQuery {
    state: MessageState,
    before: Option<MessagePosition>,
    pub(super) limit: Limit,
}

impl MessageQuery {
    /// What to ask the store for: one entry more than the page holds.
    pub(super) fn page(&self) -> MessagePage {
        MessagePage {
            state: self.state,
            before: self.before.map(|MessagePosition(id)| id),
            limit: self.limit.plus_one(),
        }
    }
}

impl FromQuery for MessageQuery {
    fn parameters() -> Vec<QueryParameter> {
        vec![
            QueryParameter {
                name: "status",
                description: "Only messages of this status.",
                schema: json_schema!({ "type": "string", "enum": MessageState::VARIANTS, "default": "pending" }),
            },
            Limit::parameter(),
            cursor_parameter(MessagePosition::PATTERN),
        ]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        let state = fields.take("status", |text| {
            let named = text.parse();
            named.map_err(|_| "must be pending, delivered or failed")
        });
        Self {
            state: state.unwrap_or(MessageState::Pending),
            before: take_cursor(fields),
            limit: Limit::take(fields),
        }
    }
}

/// A place in the list of messages: the message with this id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MessagePosition(pub(super) Uuid);

/// Tells the cursor from those of other lists.
const MESSAGE_TAG: &[u8; 3] = b"msg";

impl Cursor for MessagePosition {
    const PATTERN: &str = "^bXNn[A-Za-z0-9_-]{21}[AQgw]$";

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode([MESSAGE_TAG, self.0.as_bytes().as_slice()].concat())
    }

    fn decode(cursor: &str) -> Option<Self> {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let id = bytes.strip_prefix(MESSAGE_TAG)?;
        Uuid::from_slice(id).ok().map(Self)
    }
}

/// What to send again.
#[derive(Debug)]
pub(super) struct RetryQuery {
    /// Only what was given up at this time or later.
    pub(super) since: Timestamp,
}

impl FromQuery for RetryQuery {
    fn parameters() -> Vec<QueryParameter> {
        vec![instant_parameter(
            "since",
            "Only messages that were given up at this time or later (RFC 3339; a `+` is written `%2B`).",
        )]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        let since = fields.take("since", parse_instant);
        Self {
            since: since.unwrap_or(Timestamp::from_millis(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_names_its_message_and_one_of_commands_is_none() {
        let position = MessagePosition(Uuid::from_u128(7));
        assert_eq!(MessagePosition::decode(&position.encode()), Some(position));
        for bad in ["", "bXNn", "Y21kAAAAAAAAAAAAAAAAAAAAAA"] {
            assert_eq!(MessagePosition::decode(bad), None, "{bad}");
        }
    }
}
