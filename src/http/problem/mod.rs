//! Error responses: problem details by RFC 9457, the one format of every error of the API.
//!
//! An error inside the gateway is logged where it becomes a problem; the response does not show it.

mod conversions;
mod details;
mod invalid_input;
mod kind;

use std::borrow::Cow;

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use uuid::Uuid;

use super::media_type::PROBLEM_JSON;

pub(crate) use details::ProblemDetails;
pub(crate) use invalid_input::InvalidInput;
pub(crate) use kind::ProblemKind;

/// The value of `Retry-After`, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// The largest number of invalid parts that a response lists: a small request can have thousands.
const MAX_ERRORS: usize = 20;
/// The body of a problem that cannot be serialized.
const SERIALIZATION_FAILED: &str = r#"{"type":"urn:vehicle-gateway:problem:internal","title":"Internal error","status":500,"detail":"The gateway failed to handle the request. Its log has the details."}"#;

/// An error response.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: ProblemKind,
    detail: Cow<'static, str>,
    errors: Vec<InvalidInput>,
    command_id: Option<Uuid>,
    reply: Option<String>,
}

impl Problem {
    /// A problem of this kind with its default detail.
    pub(crate) fn new(kind: ProblemKind) -> Self {
        Self {
            kind,
            detail: kind.detail().into(),
            errors: Vec::new(),
            command_id: None,
            reply: None,
        }
    }

    /// The kind.
    pub(crate) fn kind(&self) -> ProblemKind {
        self.kind
    }

    /// Replaces the detail by a more specific one.
    pub(crate) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Adds the command that failed and the vehicle's reply.
    pub(crate) fn with_command(mut self, id: Uuid, reply: Option<String>) -> Self {
        self.command_id = Some(id);
        self.reply = reply;
        self
    }

    /// A problem with invalid input. The detail names the first of `errors`.
    pub(crate) fn invalid(kind: ProblemKind, mut errors: Vec<InvalidInput>) -> Self {
        errors.truncate(MAX_ERRORS);
        let problem = Self::new(kind);
        let problem = match errors.first() {
            Some(first) => problem.with_detail(first.to_string()),
            None => problem,
        };
        Self { errors, ..problem }
    }

    /// A problem with one invalid parameter of the path, the query or the headers.
    pub(crate) fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::invalid(
            ProblemKind::InvalidParameter,
            vec![InvalidInput::parameter(name, detail)],
        )
    }

    /// A problem with one invalid field of the body, at this JSON pointer.
    pub(crate) fn invalid_field(pointer: &str, detail: impl Into<String>) -> Self {
        Self::invalid(
            ProblemKind::InvalidBody,
            vec![InvalidInput::body(pointer, detail)],
        )
    }

    /// The body of the response.
    pub(crate) fn details(&self) -> ProblemDetails<'_> {
        ProblemDetails {
            r#type: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
            command_id: self.command_id,
            reply: self.reply.as_deref(),
        }
    }
}

impl From<ProblemKind> for Problem {
    fn from(kind: ProblemKind) -> Self {
        Self::new(kind)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, body) = match serde_json::to_vec(&self.details()) {
            Ok(body) => (self.kind.status(), Bytes::from(body)),
            Err(error) => {
                tracing::error!(kind = self.kind.name(), %error, "cannot serialize a problem");
                let body = Bytes::from_static(SERIALIZATION_FAILED.as_bytes());
                (StatusCode::INTERNAL_SERVER_ERROR, body)
            }
        };
        let content_type = HeaderValue::from_static(PROBLEM_JSON);
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        // For the audit trail.
        response.extensions_mut().insert(self.kind);
        let headers = response.headers_mut();
        if self.kind.is_temporary() {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.kind == ProblemKind::BodyTimeout {
            // The rest of the body may still arrive: it must not be read as the next request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fallback_body_is_the_body_of_an_internal_error() {
        let internal = Problem::new(ProblemKind::Internal);
        let body = serde_json::to_string(&internal.details()).unwrap();
        assert_eq!(body, SERIALIZATION_FAILED);
    }
}
