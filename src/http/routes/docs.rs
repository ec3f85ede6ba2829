//! `/docs` and `/openapi.json`: the documentation of the API. The page loads nothing from other hosts.

use std::sync::{Arc, LazyLock};

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Operation, ReferenceOr, Response as ResponseDoc},
    swagger::Swagger,
};
use axum::{
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::{Schema, json_schema};
use vehicle_gateway_macros::operation;

use crate::http::{
    media_type::{HTML, JSON},
    openapi::{header as header_doc, media, response},
    state::ApiState,
    static_content::StaticContent,
};

/// The page of `/docs`. It is 1.6 MB large, so all responses share it.
static PAGE: LazyLock<StaticContent> = LazyLock::new(|| {
    StaticContent::new("text/html; charset=utf-8", || {
        // Relative: a reverse proxy may offer both under another path.
        Swagger::new("openapi.json")
            .with_title("vehicle-gateway API")
            .html()
    })
});

/// The headers of the page.
const PAGE_HEADERS: [(HeaderName, HeaderValue); 1] = [
    // Forbids the browser to load anything from other hosts.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; connect-src 'self'; img-src 'self' data:; \
             script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
             frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
        ),
    ),
];

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
#[operation(tag = Server, scope = Read)]
async fn get_docs(request: HeaderMap) -> DocsPage {
    DocsPage(PAGE.respond(&request).await)
}

/// The documentation page.
struct DocsPage(Response);

impl IntoResponse for DocsPage {
    fn into_response(self) -> Response {
        (PAGE_HEADERS, self.0).into_response()
    }
}

impl OperationOutput for DocsPage {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        static_responses("The page.", HTML, json_schema!({ "type": "string" }))
    }
}

/// Get this document
///
/// Returns the description of the API in the `OpenAPI` 3.1 format.
#[operation(tag = Server, scope = Read)]
async fn get_openapi(State(state): State<Arc<ApiState>>, request: HeaderMap) -> DocumentJson {
    DocumentJson(state.document.respond(&request).await)
}

/// The serialized `OpenAPI` document.
struct DocumentJson(Response);

impl IntoResponse for DocumentJson {
    fn into_response(self) -> Response {
        self.0
    }
}

impl OperationOutput for DocumentJson {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let schema = json_schema!({ "type": "object", "required": ["openapi", "info", "paths"] });
        static_responses("The document.", JSON, schema)
    }
}

/// The content, or that the client has it already.
fn static_responses(
    description: &str,
    media_type: &str,
    schema: Schema,
) -> Vec<(Option<u16>, ResponseDoc)> {
    let etag = header_doc(
        "Identifies the content: send it as If-None-Match to get it only if it has changed.",
        json_schema!({ "type": "string" }),
    );
    let content = response(description, media_type, media(schema));
    let unchanged = ResponseDoc {
        description: "The content is the one that If-None-Match names.".to_owned(),
        ..ResponseDoc::default()
    };
    [
        (StatusCode::OK, content),
        (StatusCode::NOT_MODIFIED, unchanged),
    ]
    .map(|(status, mut document)| {
        let etag = ReferenceOr::Item(etag.clone());
        document.headers.insert("ETag".to_owned(), etag);
        (Some(status.as_u16()), document)
    })
    .into()
}
