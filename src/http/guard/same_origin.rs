//! The site that a request comes from.
//!
//! A browser sends requests of any page to any address, with the page's user behind it. It says of each where it comes
//! from, in headers that no page can set. A program sends neither of them.

use axum::{
    extract::Request,
    http::{HeaderMap, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::problem::{Problem, ProblemKind};

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
