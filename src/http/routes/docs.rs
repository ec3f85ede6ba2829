//! `/docs` and `/openapi.json`: the documentation of the API. The page loads nothing from other hosts.

use std::sync::{Arc, LazyLock};

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Operation, Response as ResponseDoc},
    swagger::Swagger,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use schemars::json_schema;
use vehicle_gateway_macros::operation;

use crate::http::{
    media_type::{HTML, JSON},
    openapi::{media, response},
    state::ApiState,
};

/// The page of `/docs`. It is 1.6 MB large, so all responses share it.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = Swagger::new("/openapi.json").with_title("vehicle-gateway API");
    Bytes::from(page.html())
});

pub(super) fn routes() -> ApiRouter<Arc<ApiState>> {
    ApiRouter::new()
        .api_route("/docs", get_with(get_docs, get_docs_operation))
        .api_route(
            "/openapi.json",
            get_with(get_openapi, get_openapi_operation),
        )
}

/// Get the documentation page
///
/// Returns this document as a page for people. The page loads nothing from other hosts.
#[operation(tag = Server)]
async fn get_docs() -> DocsPage {
    DocsPage
}

/// The documentation page.
struct DocsPage;

impl IntoResponse for DocsPage {
    fn into_response(self) -> Response {
        (
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                // Forbids the browser to load anything from other hosts.
                (
                    header::CONTENT_SECURITY_POLICY,
                    "default-src 'none'; connect-src 'self'; img-src 'self' data:; \
                     script-src 'unsafe-inline'; style-src 'unsafe-inline'",
                ),
            ],
            PAGE.clone(),
        )
            .into_response()
    }
}

impl OperationOutput for DocsPage {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let page = response("The page.", HTML, media(json_schema!({ "type": "string" })));
        vec![(Some(StatusCode::OK.as_u16()), page)]
    }
}

/// Get this document
///
/// Returns the description of the API in the `OpenAPI` 3.1 format.
#[operation(tag = Server)]
async fn get_openapi(State(state): State<Arc<ApiState>>) -> DocumentJson {
    DocumentJson(state.document.clone())
}

/// The serialized `OpenAPI` document.
struct DocumentJson(Bytes);

impl IntoResponse for DocumentJson {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, JSON)], self.0).into_response()
    }
}

impl OperationOutput for DocumentJson {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let schema = json_schema!({ "type": "object", "required": ["openapi", "info", "paths"] });
        let document = response("The document.", JSON, media(schema));
        vec![(Some(StatusCode::OK.as_u16()), document)]
    }
}
