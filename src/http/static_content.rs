//! Content that never changes while the process runs: compressed once, and revalidated by its `ETag`.

use std::{fmt, sync::Arc};

use axum::{
    Extension,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest, Sha256};
use tokio::sync::OnceCell;

use super::{
    accept::preferences,
    problem::{Problem, ProblemKind},
    unread_budget::SharedBytes,
};

/// Content that is made at the first request for it.
pub(crate) struct StaticContent {
    content_type: &'static str,
    make: Arc<dyn Fn() -> String + Send + Sync>,
    encoded: OnceCell<Arc<Encoded>>,
}

/// The content in both encodings.
#[derive(Debug)]
struct Encoded {
    plain: Variant,
    gzip: Variant,
}

/// The content in one encoding, and its strong validator.
#[derive(Debug)]
struct Variant {
    body: Bytes,
    etag: HeaderValue,
}

impl fmt::Debug for StaticContent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StaticContent")
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

impl StaticContent {
    pub(crate) fn new(
        content_type: &'static str,
        make: impl Fn() -> String + Send + Sync + 'static,
    ) -> Self {
        Self {
            content_type,
            make: Arc::new(make),
            encoded: OnceCell::new(),
        }
    }

    /// The response to a request with these headers: 200, or 304 if the client has the content already.
    pub(crate) async fn respond(&self, request: &HeaderMap) -> Response {
        let make = Arc::clone(&self.make);
        // Making it takes some 100 ms, which the other connections of a worker thread need not wait for.
        let encode = async || tokio::task::spawn_blocking(move || encode(make())).await;
        let encoded = match self.encoded.get_or_try_init(encode).await {
            Ok(encoded) => Arc::clone(encoded),
            Err(error) => {
                tracing::error!(%error, "cannot make static content");
                return Problem::new(ProblemKind::Internal).into_response();
            }
        };
        let gzip = accepts_gzip(request);
        let variant = if gzip { &encoded.gzip } else { &encoded.plain };
        let validation = [
            (header::ETAG, variant.etag.clone()),
            // Clients may keep it, and ask each time whether it is still the same: another version of the gateway has
            // other content.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
        ];
        if matches(request, &variant.etag) {
            return (StatusCode::NOT_MODIFIED, validation).into_response();
        }
        let content_type = [(header::CONTENT_TYPE, self.content_type)];
        let body = variant.body.clone();
        let mut response = (validation, content_type, Extension(SharedBytes), body).into_response();
        if gzip {
            let encoding = HeaderValue::from_static("gzip");
            response
                .headers_mut()
                .insert(header::CONTENT_ENCODING, encoding);
        }
        response
    }
}

#[expect(
    clippy::expect_used,
    reason = "writing to a Vec does not fail, and base64 is valid in a header"
)]
fn encode(text: String) -> Arc<Encoded> {
    let digest = Sha256::digest(&text);
    let tag = BASE64_URL_SAFE_NO_PAD.encode(&digest[..16]);
    let etag = |suffix| {
        HeaderValue::from_str(&format!("\"{tag}{suffix}\"")).expect("a tag is a header value")
    };
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    std::io::Write::write_all(&mut encoder, text.as_bytes()).expect("a Vec takes all bytes");
    let compressed = encoder.finish().expect("a Vec takes all bytes");
    Arc::new(Encoded {
        plain: Variant {
            body: text.into(),
            etag: etag(""),
        },
        gzip: Variant {
            body: compressed.into(),
            etag: etag("-gzip"),
        },
    })
}

/// Whether the client takes gzip (RFC 9110, section 12.5.3).
fn accepts_gzip(request: &HeaderMap) -> bool {
    let mut any = false;
    for coding in preferences(request, header::ACCEPT_ENCODING) {
        let accepted = coding.weight > 0.0;
        match coding.value.as_str() {
            "gzip" | "x-gzip" => return accepted,
            "*" => any = accepted,
            _ => {}
        }
    }
    any
}

/// Whether the client has the content with this tag (RFC 9110, section 13.1.2).
fn matches(request: &HeaderMap, etag: &HeaderValue) -> bool {
    let is_this = |tag: &str| {
        tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag.as_bytes()
    };
    request
        .get_all(header::IF_NONE_MATCH)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        // The tags here have no commas.
        .flat_map(|value| value.split(','))
        .any(|tag| is_this(tag.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(name: &header::HeaderName, values: &[&'static str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn gzip_is_chosen_where_the_client_takes_it() {
        for (values, accepted) in [
            (&[][..], false),
            (&["identity"], false),
            (&["gzip"], true),
            (&["deflate, GZIP ; q=0.5"], true),
            (&["deflate", "x-gzip"], true),
            (&["gzip;q=0"], false),
            (&["gzip;q=0, *"], false),
            (&["*"], true),
            (&["*;q=0"], false),
            (&["br;q=1.0, *;q=0.1"], true),
            (&["gzip;q=often"], false),
        ] {
            let request = request(&header::ACCEPT_ENCODING, values);
            assert_eq!(accepts_gzip(&request), accepted, "{values:?}");
        }
    }

    #[test]
    fn a_tag_matches_whatever_its_strength_and_place() {
        let etag = HeaderValue::from_static("\"1\"");
        for (values, matching) in [
            (&[][..], false),
            (&["\"1\""], true),
            (&["W/\"1\""], true),
            (&["\"2\", \"1\""], true),
            (&["\"2\"", "\"1\""], true),
            (&["*"], true),
            (&["1"], false),
            (&["\"1-gzip\""], false),
        ] {
            let request = request(&header::IF_NONE_MATCH, values);
            assert_eq!(matches(&request, &etag), matching, "{values:?}");
        }
    }
}
