//! The REST edge: routes, extractors, wire types, errors as problem details, the API's description.
//!
//! Handlers extract, call the service and convert; rules live in the service, SQL in the store.
//! Wire types are made from domain types and never leave this module.

mod body;
mod commands;
mod describe;
mod docs;
mod extract;
mod history;
mod kind;
mod metrics;
mod paging;
mod problem;
mod readiness;
mod server;
mod server_info;
mod status_update;
mod vehicles;
mod webhooks;
mod wire;
mod write_deadline;

#[cfg(test)]
mod tests;

use std::{any::Any, ops::Deref, sync::Arc, time::Duration};

use aide::{
    axum::ApiRouter,
    openapi::{OpenApi, ReferenceOr},
    util::iter_operations_mut,
};
use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use tower_http::{
    catch_panic::CatchPanicLayer,
    compression::{
        CompressionLayer, Predicate,
        predicate::{NotForContentType, SizeAbove},
    },
};

use crate::{
    commands::Commands, instance::Instance, sessions::Sessions, vehicles::Vehicles,
    webhooks::WebhookAdmin,
};
use kind::Kind;
use problem::Problem;

pub use server::serve;

/// Responses below this many bytes are not worth compressing.
const COMPRESS_ABOVE: u16 = 1024;

/// Limits of the HTTP side.
#[derive(Debug, Clone, Copy)]
pub struct HttpOptions {
    /// How long a client may take for the headers of a request, and be idle between two requests.
    pub header_timeout: Duration,
    /// Connections at a time; more wait to be accepted.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    pub max_body: usize,
    /// How long a request may take from its headers to its response, and how long a client may take
    /// nothing of the response.
    pub request_timeout: Duration,
    /// How long a vehicle may take to answer a command, unless the request says otherwise.
    pub command_timeout: Duration,
}

impl HttpOptions {
    /// Half of a request's time is for its body, so that a slow client is told apart from a slow
    /// gateway.
    fn body_timeout(&self) -> Duration {
        self.request_timeout / 2
    }

    /// A request's time where a vehicle may have to answer first.
    fn request_and_answer_timeout(&self) -> Duration {
        self.request_timeout + commands::MAX_TIMEOUT
    }
}

/// What all requests share.
#[derive(Debug)]
struct Shared {
    parts: ApiParts,
    options: HttpOptions,
    /// The API's description, serialized.
    document: Bytes,
}

/// The parts of the gateway that requests are for.
#[derive(Debug, Clone)]
pub struct ApiParts {
    /// Vehicles and their history.
    pub vehicles: Arc<Vehicles>,
    /// Commands to vehicles.
    pub commands: Arc<Commands>,
    /// Webhooks and their messages.
    pub webhooks: Arc<WebhookAdmin>,
    /// This instance.
    pub instance: Arc<Instance>,
    /// The device connections that it holds.
    pub sessions: Arc<Sessions>,
}

impl Deref for Shared {
    type Target = ApiParts;

    fn deref(&self) -> &ApiParts {
        &self.parts
    }
}

/// The whole API, to be given to [`serve`].
pub fn router(parts: ApiParts, options: HttpOptions) -> Router {
    let (routes, document) = describe();
    let limit = |time| middleware::from_fn_with_state(time, limit_time);
    let shared = Arc::new(Shared {
        parts,
        options,
        document: to_json(&document).into(),
    });
    let compressed = SizeAbove::new(COMPRESS_ABOVE)
        .and(NotForContentType::const_new("application/octet-stream"));
    routes
        .prompt
        .layer(limit(options.request_timeout))
        .merge(
            routes
                .waiting
                .layer(limit(options.request_and_answer_timeout())),
        )
        .fallback(async || Problem::new(Kind::NotFound))
        .method_not_allowed_fallback(async || Problem::new(Kind::MethodNotAllowed))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(CompressionLayer::new().compress_when(compressed))
        .with_state(shared)
}

/// The API's description (`OpenAPI` 3.1, JSON), which `GET /openapi.json` serves.
#[must_use]
pub fn openapi() -> String {
    to_json(&describe().1)
}

/// The routes, by how long their requests may take.
struct Routes {
    /// Answered by the gateway alone.
    prompt: Router<Arc<Shared>>,
    /// Answered when a vehicle has answered.
    waiting: Router<Arc<Shared>>,
}

/// Routes and their description. Synchronous and of one piece: aide collects schemas by thread.
fn describe() -> (Routes, OpenApi) {
    let mut document = docs::blank();
    let prompt = ApiRouter::new()
        .merge(vehicles::routes())
        .merge(history::routes())
        .merge(commands::log_routes())
        .merge(status_update::routes())
        .merge(webhooks::routes())
        .merge(server_info::routes())
        .merge(readiness::routes())
        .merge(metrics::routes())
        .merge(docs::routes());
    let waiting = commands::routes();
    let routes = Routes {
        prompt: prompt.finish_api(&mut document),
        waiting: waiting.finish_api(&mut document),
    };
    // Extractors add their errors before the handler's result: readers look for success first.
    let items = document
        .paths
        .iter_mut()
        .flat_map(|paths| paths.paths.values_mut());
    for (_, operation) in items
        .filter_map(ReferenceOr::as_item_mut)
        .flat_map(iter_operations_mut)
    {
        if let Some(responses) = &mut operation.responses {
            responses.responses.sort_keys();
        }
    }
    (routes, document)
}

fn to_json(document: &OpenApi) -> String {
    #[expect(
        clippy::expect_used,
        reason = "a description without maps keyed by anything but strings; a test writes it"
    )]
    serde_json::to_string_pretty(document).expect("the description is JSON")
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the shape tower-http asks for"
)]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is no text");
    tracing::error!(panic = message, "a request panicked");
    Problem::new(Kind::Internal).into_response()
}

async fn limit_time(State(limit): State<Duration>, request: Request, next: Next) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| {
            tracing::warn!(%method, path, "a request took too long");
            Problem::new(Kind::RequestTimeout).into_response()
        })
}
