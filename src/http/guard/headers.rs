//! Headers of every response.

use axum::{
    http::{HeaderName, HeaderValue, header},
    response::Response,
};

/// Added to every response that does not have them.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    // A browser must not take one type of content for another.
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    // Some answers hold secrets, and all change: nothing in between keeps them.
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    // What is no page loads nothing and is shown in no frame of another page.
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
    ),
    // Pages of other sites must not load it, be it as an image or a script.
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
];

/// Adds the headers of every response.
pub(in crate::http) async fn add_headers(mut response: Response) -> Response {
    for (name, value) in HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    response
}
