//! `{webhookId}` and `{messageId}` of the path.

use std::sync::Arc;

use aide::{OperationInput, generate::GenContext, openapi::Operation, operation::add_parameters};
use axum::{extract::FromRequestParts, http::request::Parts};
use uuid::Uuid;

use super::wire::{EXAMPLE_MESSAGE_ID, EXAMPLE_WEBHOOK_ID};
use crate::http::{
    Shared, describe,
    extract::{uuid_parameter, uuid_parameter_doc},
    kind::Kind,
    problem::Problem,
};

/// `{webhookId}` of the path.
#[derive(Debug)]
pub(super) struct WebhookPath(pub(super) Uuid);

impl FromRequestParts<Arc<Shared>> for WebhookPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, Problem> {
        let what = "must be a UUID with hyphens, as the list of webhooks shows it";
        uuid_parameter(parts, state, "webhookId", what)
            .await
            .map(Self)
    }
}

impl OperationInput for WebhookPath {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let parameter = uuid_parameter_doc(
            "webhookId",
            "The webhook's id, from the list of webhooks.",
            EXAMPLE_WEBHOOK_ID,
        );
        add_parameters(ctx, operation, [parameter]);
        describe::problems(
            ctx,
            operation,
            &[Kind::InvalidParameter, Kind::UnknownWebhook],
        );
    }
}

/// `{webhookId}` and `{messageId}` of the path.
#[derive(Debug)]
pub(super) struct MessagePath {
    pub(super) webhook_id: Uuid,
    pub(super) message_id: Uuid,
}

impl FromRequestParts<Arc<Shared>> for MessagePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, Problem> {
        let WebhookPath(webhook_id) = WebhookPath::from_request_parts(parts, state).await?;
        let what = "must be a UUID with hyphens, as the list of messages shows it";
        let message_id = uuid_parameter(parts, state, "messageId", what).await?;
        Ok(Self {
            webhook_id,
            message_id,
        })
    }
}

impl OperationInput for MessagePath {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        WebhookPath::operation_input(ctx, operation);
        let parameter = uuid_parameter_doc(
            "messageId",
            "The message's id, which its receiver sees as `webhook-id`.",
            EXAMPLE_MESSAGE_ID,
        );
        add_parameters(ctx, operation, [parameter]);
        describe::problems(ctx, operation, &[Kind::UnknownMessage]);
    }
}
