//! `/webhooks`: the endpoints that are told what happens, and the messages to them.

mod body;
mod path;
mod query;
mod wire;

use std::sync::Arc;

use aide::{
    OperationOutput,
    axum::{
        ApiRouter,
        routing::{get_with, post_with},
    },
    generate::{GenContext, in_context},
    openapi::{Operation, ReferenceOr, Response as ResponseDoc},
    transform::TransformOperation,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, NoContent, Response},
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

use super::{
    Shared,
    body::{Json, JsonBody},
    describe::{self, Example, json_response},
    extract::Query,
    kind::Kind,
    paging::{Cursor, Page},
    problem::Problem,
};
use body::{NewWebhook, WebhookUpdate};
use path::{MessagePath, WebhookPath};
use query::{MessagePosition, MessageQuery, RetryQuery};
use wire::{MadeWebhook, MessageWithBody, Retried, RotatedSecret, Webhook, WebhookMessage};

const TAG: &str = "Webhooks";

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .merge(endpoint_routes())
        .merge(message_routes())
}

fn endpoint_routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/webhooks",
            get_with(list_webhooks, |op| {
                op.id("list_webhooks").tag(TAG).summary("List webhooks").description(
                    "All webhooks, the oldest first, in one page: there can be 100. Those of the settings are \
                     among them.",
                )
            })
            .post_with(create_webhook, |op| {
                let op = op.id("create_webhook").tag(TAG).summary("Make a webhook").description(
                    "From the next change on, what was asked for is sent to the URL as messages by Standard \
                     Webhooks 1.0.0. The answer holds the secret by which the receiver checks them; it is not \
                     shown again. A URL that leads to an address that webhooks must not reach is refused; a \
                     name that does not resolve now is taken.",
                );
                refuses(op, &[Kind::TooManyWebhooks])
            }),
        )
        .api_route(
            "/webhooks/{webhookId}",
            get_with(get_webhook, |op| {
                op.id("get_webhook").tag(TAG).summary("Get a webhook").description(
                    "The webhook, how it fares, and what waits for it.",
                )
            })
            .patch_with(update_webhook, |op| {
                let op = op.id("update_webhook").tag(TAG).summary("Change a webhook").description(
                    "Changes what the body names. A webhook that is enabled again gets what waited for it. Of \
                     a webhook of the settings only `enabled` can be changed.",
                );
                refuses(op, &[Kind::WebhookConfigured])
            })
            .delete_with(delete_webhook, |op| {
                let op = op.id("delete_webhook").tag(TAG).summary("Delete a webhook").description(
                    "Forgets the webhook and what waits for it. A message that is on its way may still arrive.",
                );
                refuses(op, &[Kind::WebhookConfigured])
            }),
        )
        .api_route(
            "/webhooks/{webhookId}/rotate-secret",
            post_with(rotate_secret, |op| {
                let op = op.id("rotate_webhook_secret").tag(TAG).summary("Give a webhook a new secret").description(
                    "Draws a new secret, which is not shown again. For a day messages are signed with the old \
                     one too, so that the receiver can change over at any time of it.",
                );
                refuses(op, &[Kind::WebhookConfigured])
            }),
        )
        .api_route(
            "/webhooks/{webhookId}/test",
            post_with(test_webhook, |op| {
                let op = op.id("test_webhook").tag(TAG).summary("Send a test message").description(
                    "Sends a message of type `webhook.test`, which is about no vehicle. What becomes of it is \
                     where `Location` says.",
                );
                refuses(op, &[Kind::WebhookDisabled])
            }),
        )
}

fn message_routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/webhooks/{webhookId}/messages",
            get_with(list_messages, |op| {
                op.id("list_webhook_messages").tag(TAG).summary("List a webhook's messages").description(
                    "Messages of one status without their bodies, newest first, in pages, with what came of \
                     the last attempt.",
                )
            }),
        )
        .api_route(
            "/webhooks/{webhookId}/messages/{messageId}",
            get_with(get_message, |op| {
                op.id("get_webhook_message").tag(TAG).summary("Get a message").description(
                    "One message with its body.",
                )
            }),
        )
        .api_route(
            "/webhooks/{webhookId}/messages/{messageId}/retry",
            post_with(retry_message, |op| {
                op.id("retry_webhook_message").tag(TAG).summary("Send a message again").description(
                    "Lets a message be sent again at once, also one that was delivered, or that was given up: \
                     then its attempts begin anew. If the webhook is disabled, once it is enabled.",
                )
            }),
        )
        .api_route(
            "/webhooks/{webhookId}/retry-failed",
            post_with(retry_failed, |op| {
                op.id("retry_failed_webhook_messages")
                    .tag(TAG)
                    .summary("Send again what was given up")
                    .description("Lets all messages that were given up be sent again, the oldest first.")
            }),
        )
}

/// Adds kinds of error to the operation.
fn refuses<'t>(mut op: TransformOperation<'t>, kinds: &[Kind]) -> TransformOperation<'t> {
    in_context(|ctx| describe::problems(ctx, op.inner_mut(), kinds));
    op
}

async fn list_webhooks(State(state): State<Arc<Shared>>) -> Result<Json<Page<Webhook>>, Problem> {
    let endpoints = state.webhooks.endpoints().await?;
    Ok(Json(Page::all(
        endpoints.into_iter().map(Webhook::from).collect(),
    )))
}

async fn create_webhook(
    State(state): State<Arc<Shared>>,
    JsonBody(body): JsonBody<NewWebhook>,
) -> Result<Created, Problem> {
    let made = state.webhooks.create_endpoint(body.into()).await?;
    Ok(Created {
        location: format!("/webhooks/{}", made.id),
        webhook: made.into(),
    })
}

async fn get_webhook(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(state.webhooks.endpoint(id).await?.into()))
}

async fn update_webhook(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
    JsonBody(body): JsonBody<WebhookUpdate>,
) -> Result<Json<Webhook>, Problem> {
    let updated = state.webhooks.update_endpoint(id, body.into()).await?;
    Ok(Json(updated.into()))
}

async fn delete_webhook(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
) -> Result<NoContent, Problem> {
    state.webhooks.delete_endpoint(id).await?;
    Ok(NoContent)
}

async fn rotate_secret(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
) -> Result<Json<RotatedSecret>, Problem> {
    Ok(Json(state.webhooks.rotate_secret(id).await?.into()))
}

async fn test_webhook(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
) -> Result<Accepted<WebhookMessage>, Problem> {
    let sent = state.webhooks.test_endpoint(id).await?;
    Ok(Accepted {
        location: format!("/webhooks/{id}/messages/{}", sent.id),
        body: sent.into(),
    })
}

async fn list_messages(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
    Query(query): Query<MessageQuery>,
) -> Result<Json<Page<WebhookMessage>>, Problem> {
    let messages = state.webhooks.messages(id, query.page()).await?;
    Ok(Json(Page::new(
        messages,
        query.limit,
        |last| MessagePosition(last.id).encode(),
        WebhookMessage::from,
    )))
}

async fn get_message(
    State(state): State<Arc<Shared>>,
    path: MessagePath,
) -> Result<Json<MessageWithBody>, Problem> {
    let message = state
        .webhooks
        .message(path.webhook_id, path.message_id)
        .await?;
    Ok(Json(message.try_into()?))
}

async fn retry_message(
    State(state): State<Arc<Shared>>,
    path: MessagePath,
) -> Result<Accepted<WebhookMessage>, Problem> {
    let message = state
        .webhooks
        .retry_message(path.webhook_id, path.message_id)
        .await?;
    Ok(Accepted {
        location: format!("/webhooks/{}/messages/{}", path.webhook_id, path.message_id),
        body: message.into(),
    })
}

async fn retry_failed(
    State(state): State<Arc<Shared>>,
    WebhookPath(id): WebhookPath,
    Query(query): Query<RetryQuery>,
) -> Result<Json<Retried>, Problem> {
    let retried = state
        .webhooks
        .retry_failed_messages(id, query.since)
        .await?;
    Ok(Json(Retried { retried }))
}

/// 201 with the new webhook and where it is.
struct Created {
    location: String,
    webhook: MadeWebhook,
}

impl IntoResponse for Created {
    fn into_response(self) -> Response {
        let location = [(header::LOCATION, self.location)];
        (StatusCode::CREATED, location, Json(self.webhook)).into_response()
    }
}

impl OperationOutput for Created {
    type Inner = MadeWebhook;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let created = json_response::<MadeWebhook>(ctx, "The webhook was made.");
        let created = with_location(created, "The path of the new webhook.");
        vec![(Some(StatusCode::CREATED.as_u16()), created)]
    }
}

/// 202 with what was begun, and where to see what becomes of it.
struct Accepted<T> {
    location: String,
    body: T,
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        let location = [(header::LOCATION, self.location)];
        (StatusCode::ACCEPTED, location, Json(self.body)).into_response()
    }
}

impl<T: JsonSchema + Example> OperationOutput for Accepted<T> {
    type Inner = T;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let accepted = json_response::<T>(ctx, "The message will be sent.");
        let accepted = with_location(accepted, "The path of the message.");
        vec![(Some(StatusCode::ACCEPTED.as_u16()), accepted)]
    }
}

fn with_location(mut response: ResponseDoc, description: &str) -> ResponseDoc {
    let schema = json_schema!({ "type": "string", "format": "uri-reference" });
    let location = describe::header(description, schema);
    response
        .headers
        .insert("Location".to_owned(), ReferenceOr::Item(location));
    response
}
