//! Media types that several files name.

/// Request bodies and successful responses.
pub(crate) const JSON: &str = "application/json";
/// Error responses (RFC 9457).
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";
/// The pages for browsers.
pub(crate) const HTML: &str = "text/html";
/// Debug blobs, whose content is opaque.
pub(crate) const OCTET_STREAM: &str = "application/octet-stream";
