//! The ids in the paths of webhooks and their messages.

use schemars::Schema;
use uuid::Uuid;

use super::{dto::EXAMPLE_WEBHOOK_ID, message_dto::EXAMPLE_MESSAGE_ID};
use crate::http::{
    extract::{PathParameter, parse_uuid, uuid_schema},
    problem::ProblemKind,
};

/// The id of a webhook.
pub(super) struct WebhookId(pub(super) Uuid);

impl PathParameter for WebhookId {
    const NAME: &'static str = "webhookId";
    const DESCRIPTION: &'static str = "The webhook's id, from the list of webhooks.";
    const UNKNOWN: &'static [ProblemKind] = &[ProblemKind::UnknownWebhook];

    fn schema() -> Schema {
        uuid_schema(EXAMPLE_WEBHOOK_ID)
    }

    fn parse(text: &str) -> Result<Self, String> {
        parse_uuid(text).map(Self).ok_or_else(|| {
            "must be a UUID with hyphens, as the list of webhooks shows it".to_owned()
        })
    }
}

/// The id of a message.
pub(super) struct MessageId(pub(super) Uuid);

impl PathParameter for MessageId {
    const NAME: &'static str = "messageId";
    const DESCRIPTION: &'static str = "The message's id, which the receiver gets as `webhook-id`.";
    const UNKNOWN: &'static [ProblemKind] =
        &[ProblemKind::UnknownWebhook, ProblemKind::UnknownMessage];

    fn schema() -> Schema {
        uuid_schema(EXAMPLE_MESSAGE_ID)
    }

    fn parse(text: &str) -> Result<Self, String> {
        parse_uuid(text).map(Self).ok_or_else(|| {
            "must be a UUID with hyphens, as the list of messages shows it".to_owned()
        })
    }
}
