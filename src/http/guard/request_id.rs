//! `X-Request-Id`: what a request is called in the audit trail and by its client.

use std::fmt;

use axum::{
    extract::Request,
    http::{HeaderName, HeaderValue},
    middleware::Next,
    response::Response,
};
use uuid::Uuid;

use crate::access::mask_keys;

const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// The longest id of a client, in bytes.
const MAX_LEN: usize = 128;

/// The id of a request: the client's, or a new UUID.
#[derive(Debug, Clone)]
pub(super) struct RequestId(HeaderValue);

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_str().unwrap_or_default())
    }
}

/// Gives the request an id, and repeats it in the response. An id of the client is replaced if it is longer than 128 bytes,
/// has other than visible ASCII characters, or contains a key.
pub(in crate::http) async fn name_request(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&NAME).filter(|id| is_valid(id));
    let id = given.cloned().unwrap_or_else(made);
    request.extensions_mut().insert(RequestId(id.clone()));
    let mut response = next.run(request).await;
    response.headers_mut().insert(NAME, id);
    response
}

/// Whether it is an id that may be kept: a key in its place may not.
fn is_valid(id: &HeaderValue) -> bool {
    let text = id.to_str().unwrap_or_default();
    (1..=MAX_LEN).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
        && mask_keys(text) == text
}

fn made() -> HeaderValue {
    let mut text = Uuid::encode_buffer();
    let text = Uuid::now_v7().hyphenated().encode_lower(&mut text);
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("-"))
}
