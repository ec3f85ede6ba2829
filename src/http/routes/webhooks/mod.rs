//! `/webhooks`: webhooks, and the messages sent to them.

mod dto;
mod message_dto;
mod messages;
mod path;
mod query;
mod request;
mod response;

use std::sync::Arc;

use aide::axum::{
    ApiRouter,
    routing::{get_with, post_with},
};
use axum::{extract::State, response::NoContent};
use vehicle_gateway_macros::operation;

use super::created::Created;
use crate::http::{
    extract::{JsonBody, Path},
    json::Json,
    paging::Page,
    problem::Problem,
    state::ApiState,
};
use dto::{MadeWebhook, RotatedSecret, WebhookDto};
use message_dto::WebhookMessageDto;
use path::WebhookId;
use request::{NewWebhook, WebhookUpdate};
use response::Accepted;

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route(
            "/webhooks",
            get_with(list_webhooks, list_webhooks_operation)
                .post_with(create_webhook, create_webhook_operation),
        )
        .api_route(
            "/webhooks/{webhookId}",
            get_with(get_webhook, get_webhook_operation)
                .patch_with(update_webhook, update_webhook_operation)
                .delete_with(delete_webhook, delete_webhook_operation),
        )
        .api_route(
            "/webhooks/{webhookId}/rotate-secret",
            post_with(rotate_webhook_secret, rotate_webhook_secret_operation),
        )
        .api_route(
            "/webhooks/{webhookId}/test",
            post_with(test_webhook, test_webhook_operation),
        )
        .merge(messages::routes())
}

/// List webhooks
///
/// Returns all webhooks in one page, oldest first, including those configured in the settings file. There are at most
/// 100.
#[operation(tag = Webhooks, scope = Read, problems = [UnreadResponses])]
async fn list_webhooks(
    State(state): State<Arc<ApiState>>,
) -> Result<Json<Page<WebhookDto>>, Problem> {
    let endpoints = state.webhooks.endpoints().await?;
    Ok(Json(Page::all(
        endpoints.into_iter().map(WebhookDto::from).collect(),
    )))
}

/// Create a webhook
///
/// From now on, events of the requested kinds are sent to the URL as messages by Standard Webhooks 1.0.0. The response
/// contains the secret that the receiver verifies messages with; it is not shown again. A URL whose host is an address
/// that webhooks must not reach, or resolves to one, is rejected. A host name that does not resolve yet is accepted.
#[operation(tag = Webhooks, scope = Manage, problems = [TooManyWebhooks])]
async fn create_webhook(
    State(state): State<Arc<ApiState>>,
    JsonBody(body): JsonBody<NewWebhook>,
) -> Result<Created<MadeWebhook>, Problem> {
    let endpoint = state.webhooks.create_endpoint(body.into()).await?;
    Ok(Created {
        location: format!("/webhooks/{}", endpoint.id),
        body: endpoint.into(),
    })
}

/// Get a webhook
///
/// Returns the webhook, its health and the number of its pending messages.
#[operation(tag = Webhooks, scope = Read)]
async fn get_webhook(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
) -> Result<Json<WebhookDto>, Problem> {
    Ok(Json(state.webhooks.endpoint(id).await?.into()))
}

/// Update a webhook
///
/// Changes the fields that are present. Enabling a webhook sends its pending messages. Only `enabled` can be changed of
/// a webhook configured in the settings file.
#[operation(tag = Webhooks, scope = Manage, problems = [WebhookConfigured])]
async fn update_webhook(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
    JsonBody(body): JsonBody<WebhookUpdate>,
) -> Result<Json<WebhookDto>, Problem> {
    let updated = state.webhooks.update_endpoint(id, body.into()).await?;
    Ok(Json(updated.into()))
}

/// Delete a webhook
///
/// Deletes the webhook and its pending messages. A message that is being sent may still arrive.
#[operation(tag = Webhooks, scope = Manage, problems = [WebhookConfigured])]
async fn delete_webhook(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
) -> Result<NoContent, Problem> {
    state.webhooks.delete_endpoint(id).await?;
    Ok(NoContent)
}

/// Rotate a webhook's secret
///
/// Generates a new secret, which is not shown again. For 24 hours messages are signed with both the new and the previous
/// secret, so that the receiver can switch at any time.
#[operation(tag = Webhooks, scope = Manage, problems = [WebhookConfigured])]
async fn rotate_webhook_secret(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
) -> Result<Json<RotatedSecret>, Problem> {
    let endpoint = state.webhooks.rotate_secret(id).await?;
    Ok(Json(endpoint.into()))
}

/// Send a test message
///
/// Queues a message of type `webhook.test`, which belongs to no vehicle. `Location` is the path of the message.
#[operation(tag = Webhooks, scope = Manage, problems = [WebhookDisabled])]
async fn test_webhook(
    State(state): State<Arc<ApiState>>,
    Path(WebhookId(id)): Path<WebhookId>,
) -> Result<Accepted<WebhookMessageDto>, Problem> {
    let message = state.webhooks.test_endpoint(id).await?;
    Ok(Accepted {
        location: messages::location(id, message.id),
        body: message.into(),
    })
}
