//! The `OpenAPI` document without its operations, and its text form.

use aide::openapi::{Components, Info, License, OpenApi, ReferenceOr, SecurityScheme, Server, Tag};
use indexmap::IndexMap;

use super::tag::ApiTag;

const INTRODUCTION: &str = "\
Bodies are JSON with keys in camelCase. Timestamps are RFC 3339 in UTC with milliseconds. A value that is not known \
is null; its key is present.

Lists are paginated: pass `nextCursor` as `cursor`, with the other parameters unchanged, until it is null.

`HEAD` is supported wherever `GET` is, except for `fetch-info`, which asks a vehicle. An operation with query \
parameters rejects unknown ones.

Send `X-Request-Id`, or take the one of the response, to find a request in `/audit`.

A request that calls the server by an unknown name is refused with 421, whatever its path.

Every error response has the type `application/problem+json` (RFC 9457). The schema `Problem`, below the operations, \
lists all kinds.";

/// The name of the security scheme: a key.
pub(crate) const KEY: &str = "key";

/// The document without its operations.
pub(crate) fn base_document() -> OpenApi {
    OpenApi {
        info: Info {
            title: "vehicle-gateway".to_owned(),
            summary: Some("Connected vehicles over REST".to_owned()),
            description: Some(INTRODUCTION.to_owned()),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            license: Some(License {
                name: env!("CARGO_PKG_LICENSE").to_owned(),
                identifier: Some(env!("CARGO_PKG_LICENSE").to_owned()),
                ..License::default()
            }),
            ..Info::default()
        },
        servers: vec![Server {
            url: "/".to_owned(),
            description: Some("The server that serves this document".to_owned()),
            ..Server::default()
        }],
        components: Some(Components {
            security_schemes: [(KEY.to_owned(), ReferenceOr::Item(key_scheme()))].into(),
            ..Components::default()
        }),
        tags: ApiTag::ALL.map(Tag::from).into(),
        ..OpenApi::default()
    }
}

fn key_scheme() -> SecurityScheme {
    let description = "A key, if the gateway asks for one (`http.auth` = `required`). An operation needs a key with \
                       its scope, or any key if it lists no scope; one without this scheme needs none.";
    SecurityScheme::Http {
        scheme: "bearer".to_owned(),
        bearer_format: Some("vgk_…".to_owned()),
        description: Some(description.to_owned()),
        extensions: IndexMap::default(),
    }
}

/// The document as JSON, indented.
pub(crate) fn to_json(document: &OpenApi) -> String {
    #[expect(
        clippy::expect_used,
        reason = "every map of the document has strings for keys, and a test serializes it"
    )]
    serde_json::to_string_pretty(document).expect("the OpenAPI document is JSON")
}
