//! Puts routes and the `OpenAPI` document together, and adds what applies to every request: time limits, compression,
//! panics that become a 500.

use std::{any::Any, collections::BTreeSet, sync::Arc, time::Duration};

use aide::{
    openapi::{OpenApi, ReferenceOr},
    util::iter_operations_mut,
};
use axum::{
    Extension, Router,
    extract::{Request, State},
    http::{HeaderValue, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use tower_http::catch_panic::CatchPanicLayer;

use super::{
    compression::compress,
    failure_log,
    guard::{
        AccessRules, AuditedOperations, Authorization, KeyCheck, add_headers, check_host,
        check_key, document_refusals, name_request, note_in_audit, require_same_origin,
        require_same_origin_to_change,
    },
    media_type::JSON,
    openapi::{base_document, to_json},
    options::HttpOptions,
    problem::{Problem, ProblemKind},
    state::{ApiParts, ApiState},
    static_content::StaticContent,
    unread_budget::count_unread,
};
use crate::access::Caller;

/// The API, which `serve` serves. `base_path` is the path under which a reverse proxy offers it: empty
/// if that is the root.
pub fn router(
    parts: ApiParts,
    options: HttpOptions,
    access: AccessRules,
    base_path: &str,
) -> Router {
    let documented = DocumentedRoutes::new();
    let limit = |time| middleware::from_fn_with_state(time, limit_time);
    let base_path = base_path.to_owned();
    let document = {
        let base_path = base_path.clone();
        StaticContent::new(JSON, move || document_at(&base_path))
    };
    let keys = Arc::clone(&parts.keys);
    let audit = Arc::clone(&parts.audit);
    let state = Arc::new(ApiState::new(parts, options, document, base_path));
    let locations = middleware::map_response_with_state(Arc::clone(&state), prefix_location);
    let unread = middleware::from_fn_with_state(state.unread.clone(), count_unread);
    let routes = documented
        .prompt
        .layer(limit(options.request_timeout))
        .layer(middleware::from_fn(require_same_origin_to_change))
        .merge(
            documented
                .waiting
                .layer(limit(options.request_and_answer_timeout()))
                // All of them speak to vehicles, `GET` as well.
                .layer(middleware::from_fn(require_same_origin)),
        )
        .fallback(async || Problem::new(ProblemKind::NotFound))
        .method_not_allowed_fallback(async || Problem::new(ProblemKind::MethodNotAllowed))
        .layer(CatchPanicLayer::custom(respond_to_panic));
    let audited = AuditedOperations::new(audit, &documented.document, |path| {
        !documented.prompt_paths.contains(path)
    });
    let routes = routes.layer(middleware::from_fn_with_state(
        Arc::new(audited),
        note_in_audit,
    ));
    let routes = match access.authorization {
        Authorization::Off => routes.layer(Extension(Caller::without_key())),
        Authorization::Required => {
            let check = KeyCheck::new(keys, &documented.document);
            routes.layer(middleware::from_fn_with_state(Arc::new(check), check_key))
        }
    };
    let routes = routes
        .layer(locations)
        .layer(middleware::from_fn_with_state(access.hosts, check_host))
        .layer(middleware::map_response(add_headers))
        .layer(middleware::from_fn(name_request))
        .layer(unread);
    compress(routes).with_state(state)
}

/// The `OpenAPI` 3.1 document in JSON, which `GET /openapi.json` serves.
#[must_use]
pub fn openapi() -> String {
    document_at("")
}

/// The document of an API that is offered under this path.
fn document_at(base_path: &str) -> String {
    let mut document = DocumentedRoutes::new().document;
    if !base_path.is_empty() {
        for server in &mut document.servers {
            base_path.clone_into(&mut server.url);
        }
    }
    to_json(&document)
}

/// Puts the base path before the path in `Location`.
async fn prefix_location(State(state): State<Arc<ApiState>>, mut response: Response) -> Response {
    if let Some(location) = response.headers_mut().get_mut(header::LOCATION)
        && location.as_bytes().starts_with(b"/")
        && let Ok(prefixed) =
            HeaderValue::from_bytes(&[state.base_path.as_bytes(), location.as_bytes()].concat())
    {
        *location = prefixed;
    }
    response
}

/// The routes, by how long their requests may take, and their document.
struct DocumentedRoutes {
    /// Routes that the gateway answers without a vehicle.
    prompt: Router<Arc<ApiState>>,
    /// Routes that wait for a vehicle's answer, and have `MAX_COMMAND_TIMEOUT` more time.
    waiting: Router<Arc<ApiState>>,
    /// The paths of `prompt`.
    prompt_paths: BTreeSet<String>,
    document: OpenApi,
}

impl DocumentedRoutes {
    /// Builds routes and document. aide collects schemas per thread, so this must not move between threads.
    fn new() -> Self {
        let mut document = base_document();
        let prompt = super::routes::prompt().finish_api(&mut document);
        let paths = document.paths.iter().flat_map(|paths| paths.paths.keys());
        let prompt_paths: BTreeSet<String> = paths.cloned().collect();
        let waiting = super::routes::waiting().finish_api(&mut document);
        document_refusals(&mut document, |path| !prompt_paths.contains(path));
        sort_responses(&mut document);
        Self {
            prompt,
            waiting,
            prompt_paths,
            document,
        }
    }
}

/// Puts successful responses first: aide adds the errors of extractors before the handler's result.
fn sort_responses(document: &mut OpenApi) {
    let paths = document.paths.iter_mut();
    let items = paths
        .flat_map(|paths| paths.paths.values_mut())
        .filter_map(ReferenceOr::as_item_mut);
    for (_, operation) in items.flat_map(iter_operations_mut) {
        if let Some(responses) = &mut operation.responses {
            responses.responses.sort_keys();
        }
    }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature that tower-http requires"
)]
pub(super) fn respond_to_panic(panic: Box<dyn Any + Send>) -> Response {
    let message = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("a value that is not a string");
    tracing::error!(panic = message, "request panicked");
    Problem::new(ProblemKind::Internal).into_response()
}

pub(super) async fn limit_time(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    tokio::time::timeout(limit, next.run(request))
        .await
        .unwrap_or_else(|_| {
            failure_log::request_timed_out(&method, &path);
            Problem::new(ProblemKind::RequestTimeout).into_response()
        })
}
