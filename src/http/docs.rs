//! The API described: `/openapi.json`, and `/docs`, a page whose every part comes from this binary.

use std::sync::{Arc, LazyLock};

use aide::{
    OperationOutput,
    axum::{ApiRouter, routing::get_with},
    generate::GenContext,
    openapi::{Info, License, OpenApi, Operation, Response as ResponseDoc, Tag},
    swagger::Swagger,
};
use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use indexmap::IndexMap;
use schemars::json_schema;

use super::{Shared, describe, kind::Kind};

const TAG: &str = "Server";

/// Made once: it is 1.6 MB.
static PAGE: LazyLock<Bytes> = LazyLock::new(|| {
    let page = Swagger::new("/openapi.json").with_title("vehicle-gateway API");
    Bytes::from(page.html())
});

pub(super) fn routes() -> ApiRouter<Arc<Shared>> {
    ApiRouter::new()
        .api_route(
            "/docs",
            get_with(get_docs, |op| {
                op.id("get_docs")
                    .tag(TAG)
                    .summary("Read about the API")
                    .description(
                        "This document as a page for people. It loads nothing from any other host.",
                    )
            }),
        )
        .api_route(
            "/openapi.json",
            get_with(get_openapi, |op| {
                op.id("get_openapi")
                    .tag(TAG)
                    .summary("Get this document")
                    .description("The description of the API: OpenAPI 3.1.")
            }),
        )
}

/// What the document says of the API as a whole.
pub(super) fn blank() -> OpenApi {
    let tag = |name: &str, description: &str| Tag {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        ..Tag::default()
    };
    OpenApi {
        info: Info {
            title: "vehicle-gateway".to_owned(),
            summary: Some("Connected vehicles over REST".to_owned()),
            description: Some(introduction()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            license: Some(License {
                name: env!("CARGO_PKG_LICENSE").to_owned(),
                identifier: Some(env!("CARGO_PKG_LICENSE").to_owned()),
                ..License::default()
            }),
            ..Info::default()
        },
        servers: vec![aide::openapi::Server {
            url: "/".to_owned(),
            description: Some("The server that this document comes from".to_owned()),
            ..aide::openapi::Server::default()
        }],
        tags: vec![
            tag("Vehicles", "The fleet: what is known of each vehicle."),
            tag(
                "Commands",
                "What is asked of vehicles, and what becomes of it.",
            ),
            tag(
                "History",
                "What vehicles reported and left behind, and what was asked of them.",
            ),
            tag("Service", "What is done for and with one vehicle."),
            tag("Webhooks", "Who is told what happens, and what was told."),
            tag("Server", "The server itself."),
        ],
        ..OpenApi::default()
    }
}

fn introduction() -> String {
    let mut text = String::from(
        "JSON in camelCase; timestamps are RFC 3339 in UTC with milliseconds. What is not known is null, and \
         its key is there.\n\n\
         Lists come in pages: pass `nextCursor` as `cursor`, with the other parameters as they were, until it \
         is null.\n\n\
         `HEAD` is served wherever `GET` is. An operation that takes parameters of the query refuses those it \
         does not know.\n\n\
         Every error is a problem (RFC 9457) of type `application/problem+json`. Its `type` is one of:\n\n\
         | `urn:vehicle-gateway:problem:…` | Status | Meaning |\n|---|---|---|\n",
    );
    for kind in Kind::ALL {
        let row = [kind.name(), kind.status().as_str(), kind.title()].join(" | ");
        text.push_str("| ");
        text.push_str(&row);
        text.push_str(" |\n");
    }
    text
}

async fn get_docs() -> Docs {
    Docs
}

struct Docs;

impl IntoResponse for Docs {
    fn into_response(self) -> Response {
        (
            [
                (header::CONTENT_TYPE, "text/html; charset=utf-8"),
                (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
                // The browser itself keeps the page from asking another host for anything.
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

impl OperationOutput for Docs {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let schema = json_schema!({ "type": "string" });
        vec![(Some(200), response("The page.", "text/html", schema))]
    }
}

async fn get_openapi(State(state): State<Arc<Shared>>) -> Document {
    Document(state.document.clone())
}

struct Document(Bytes);

impl IntoResponse for Document {
    fn into_response(self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0).into_response()
    }
}

impl OperationOutput for Document {
    type Inner = Self;

    fn inferred_responses(
        _: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let schema = json_schema!({ "type": "object", "required": ["openapi", "info", "paths"] });
        let document = response("The document.", "application/json", schema);
        vec![(Some(StatusCode::OK.as_u16()), document)]
    }
}

fn response(description: &str, media_type: &str, schema: schemars::Schema) -> ResponseDoc {
    ResponseDoc {
        description: description.to_owned(),
        content: IndexMap::from_iter([(media_type.to_owned(), describe::media(schema))]),
        ..ResponseDoc::default()
    }
}
