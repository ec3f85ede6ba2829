//! `/webhooks/{webhookId}/messages`: the messages sent to a webhook.

use std::sync::Arc;

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::extract::State;
use uuid::Uuid;
use vehicle_gateway_macros::operation;

use super::{
    message_dto::{MessageWithBody, RetriedMessages, WebhookMessageDto},
    path::{MessageId, WebhookId},
    query::{MessageQuery, RetryQuery},
    response::Accepted,
};
use crate::http::{
    extract::{Path, Query},
    json::Json,
    paging::{MessagePosition, Page},
    problem::Problem,
    state::ApiState,
};

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/webhooks/{webhookId}/messages",
            get_with(list_webhook_messages, list_webhook_messages_operation),
        )
        .api_route(
            "/webhooks/{webhookId}/messages/{messageId}",
            get_with(get_webhook_message, get_webhook_message_operation),
        )
        .api_route(
            "/webhooks/{webhookId}/messages/{messageId}/retry",
            post_with(retry_webhook_message, retry_webhook_message_operation),
        )
        .api_route(
            "/webhooks/{webhookId}/retry-failed",
            post_with(
                retry_failed_webhook_messages,
                retry_failed_webhook_messages_operation,
            ),
        )
}

/// The path of a message.
pub(super) fn location(webhook_id: Uuid, message_id: Uuid) -> String {
    format!("/webhooks/{webhook_id}/messages/{message_id}")
}

/// List a webhook's messages
///
/// Returns the messages of one status without their bodies, newest first, in pages, with the outcome of their last
/// attempt.
#[operation(tag = Webhooks, scope = Read, problems = [UnreadResponses])]
async fn list_webhook_messages(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
    Query(query): Query<MessageQuery>,
) -> Result<Json<Page<WebhookMessageDto>>, Problem> {
    let messages = state.webhooks.messages(id, query.page()).await?;
    Ok(Json(Page::new(
        messages,
        query.limit,
        |last| MessagePosition(last.id),
        WebhookMessageDto::from,
    )))
}

/// Get a message
///
/// Returns a message with its body.
#[operation(tag = Webhooks, scope = Read)]
async fn get_webhook_message(
    State(state): State<Arc<ApiState>>,
    Path((WebhookId(webhook_id), MessageId(message_id))): Path<(WebhookId, MessageId)>,
) -> Result<Json<MessageWithBody>, Problem> {
    let message = state.webhooks.message(webhook_id, message_id).await?;
    Ok(Json(message.try_into()?))
}

/// Retry a message
///
/// Queues a message for an immediate attempt, whatever its status. A failed message gets the full number of attempts
/// again. If the webhook is disabled, the message is sent once it is enabled.
#[operation(tag = Webhooks, scope = Manage)]
async fn retry_webhook_message(
    State(state): State<Arc<ApiState>>,
    Path((WebhookId(webhook_id), MessageId(message_id))): Path<(WebhookId, MessageId)>,
) -> Result<Accepted<WebhookMessageDto>, Problem> {
    let message = state.webhooks.retry_message(webhook_id, message_id).await?;
    Ok(Accepted {
        location: location(webhook_id, message_id),
        body: message.into(),
    })
}

/// Retry failed messages
///
/// Queues all failed messages again, the oldest first.
#[operation(tag = Webhooks, scope = Manage)]
async fn retry_failed_webhook_messages(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
    Query(query): Query<RetryQuery>,
) -> Result<Json<RetriedMessages>, Problem> {
    let retried = state
        .webhooks
        .retry_failed_messages(id, query.since)
        .await?;
    Ok(Json(RetriedMessages { retried }))
}
