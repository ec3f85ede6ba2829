//! The site that a request comes from.
//!
//! A browser sends requests of any page to any address, with the page's user behind it. It says of each where it comes
//! from, in headers that no page can set. A program sends neither of them.

use aide::{
    generate::in_context,
    openapi::{OpenApi, Operation, ReferenceOr},
    util::iter_operations_mut,
};
use axum::{
    extract::Request,
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::{
    media_type::PROBLEM_JSON,
    openapi::document_problems,
    problem::{Problem, ProblemKind},
};

/// Refuses a request of a page of another site.
pub(in crate::http) async fn require_same_origin(request: Request, next: Next) -> Response {
    if is_foreign(request.headers()) {
        return Problem::new(ProblemKind::CrossOrigin).into_response();
    }
    next.run(request).await
}

/// Refuses a request of a page of another site that may change something.
pub(in crate::http) async fn require_same_origin_to_change(
    request: Request,
    next: Next,
) -> Response {
    if is_safe(request.method()) {
        return next.run(request).await;
    }
    require_same_origin(request, next).await
}

/// Documents the refusals of this module, of `host_names` and of `authorization` with every operation that answers with problems or needs a key; the
/// introduction has them for the others. `waiting` tells by the path which operations are refused whatever their method
/// is.
pub(in crate::http) fn document_refusals(document: &mut OpenApi, waiting: impl Fn(&str) -> bool) {
    for (path, item) in document.paths.iter_mut().flat_map(|paths| &mut paths.paths) {
        let Some(item) = item.as_item_mut() else {
            continue;
        };
        for (method, operation) in iter_operations_mut(item) {
            if !answers_with_problems(operation) && operation.security.is_empty() {
                continue;
            }
            let mut kinds = vec![ProblemKind::MisdirectedRequest];
            if !operation.security.is_empty() {
                kinds.extend([
                    ProblemKind::Unauthenticated,
                    ProblemKind::MissingScope,
                    ProblemKind::TooManyWrongKeys,
                ]);
            }
            if waiting(path) || !["get", "head"].contains(&method) {
                kinds.insert(0, ProblemKind::CrossOrigin);
            }
            in_context(|ctx| document_problems(ctx, operation, &kinds));
        }
    }
}

fn answers_with_problems(operation: &Operation) -> bool {
    let responses = operation
        .responses
        .iter()
        .flat_map(|it| it.responses.values());
    responses
        .filter_map(ReferenceOr::as_item)
        .any(|response| response.content.contains_key(PROBLEM_JSON))
}

fn is_safe(method: &Method) -> bool {
    [Method::GET, Method::HEAD, Method::OPTIONS].contains(method)
}

/// Whether a request is that of a page which is not of the gateway's own origin.
fn is_foreign(headers: &HeaderMap) -> bool {
    // Set by every current browser for addresses that it trusts (https and loopback).
    if let Some(site) = headers.get("sec-fetch-site") {
        // `none`: the user's own doing, such as a bookmark.
        return site != "same-origin" && site != "none";
    }
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    // Without its scheme: a proxy in front may have ended TLS.
    let host = origin.to_str().ok().and_then(|it| it.split_once("://"));
    let own = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    match (host, own) {
        (Some((_, host)), Some(own)) => !host.eq_ignore_ascii_case(own),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn pages_of_the_own_origin_and_programs_pass() {
        for (site, origin, foreign) in [
            (None, None, false),
            (Some("same-origin"), None, false),
            (Some("none"), None, false),
            (Some("same-origin"), Some("http://other:3000"), false),
            (None, Some("http://gateway:3000"), false),
            (None, Some("https://GATEWAY:3000"), false),
            (Some("cross-site"), None, true),
            (Some("same-site"), None, true),
            (Some("cross-site"), Some("http://gateway:3000"), true),
            (Some("anything"), None, true),
            (None, Some("http://gateway"), true),
            (None, Some("http://gateway:3001"), true),
            (None, Some("http://evil.example"), true),
            (None, Some("http://evil.example/gateway:3000"), true),
            (None, Some("null"), true),
            (None, Some(""), true),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("gateway:3000"));
            if let Some(site) = site {
                headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            }
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_static(origin));
            }
            assert_eq!(is_foreign(&headers), foreign, "{site:?} {origin:?}");
        }
    }
}
