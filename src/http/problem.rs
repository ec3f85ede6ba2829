//! Errors as callers see them: RFC 9457 problem details, the one shape of every error of the API.
//!
//! What goes wrong inside is logged here and never told to a caller.

use std::borrow::Cow;

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{Operation, Response as ResponseDoc},
};
use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;

use super::describe;
use crate::service::{ServiceError, StoreError};

/// What every error body is served as.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// How long a caller should wait after a 503, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// A small request with thousands of mistakes is not answered with a large list of them.
const MAX_ERRORS: usize = 20;

/// The kinds of error there are. Each has one name and one status, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    NotFound,
    MethodNotAllowed,
    InvalidParameter,
    MalformedBody,
    InvalidBody,
    UnsupportedMediaType,
    BodyTooLarge,
    BodyTimeout,
    UnknownVehicle,
    UnknownDebugBlob,
    StoreUnavailable,
    RequestTimeout,
    Internal,
}

impl Kind {
    pub(super) const ALL: [Self; 13] = [
        Self::InvalidParameter,
        Self::MalformedBody,
        Self::NotFound,
        Self::UnknownVehicle,
        Self::UnknownDebugBlob,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::BodyTooLarge,
        Self::UnsupportedMediaType,
        Self::InvalidBody,
        Self::Internal,
        Self::StoreUnavailable,
        Self::RequestTimeout,
    ];

    pub(super) fn name(self) -> &'static str {
        self.facts().0
    }

    pub(super) fn status(self) -> StatusCode {
        self.facts().1
    }

    pub(super) fn title(self) -> &'static str {
        self.facts().2
    }

    /// What a caller is told when nothing more particular is known.
    fn detail(self) -> &'static str {
        self.facts().3
    }

    fn type_uri(self) -> String {
        format!("urn:vehicle-gateway:problem:{}", self.name())
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Self::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "No such resource",
                "Nothing is served under this path.",
            ),
            Self::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "Method not allowed",
                "This path does not support the method; the Allow header lists those it does.",
            ),
            Self::InvalidParameter => (
                "invalid-parameter",
                StatusCode::BAD_REQUEST,
                "Invalid parameter",
                "A parameter of the path or the query is not valid.",
            ),
            Self::MalformedBody => (
                "malformed-body",
                StatusCode::BAD_REQUEST,
                "Malformed body",
                "The body is not valid JSON.",
            ),
            Self::InvalidBody => (
                "invalid-body",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Invalid body",
                "The body is valid JSON, but not what this operation takes.",
            ),
            Self::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported media type",
                "The body must be sent as Content-Type: application/json.",
            ),
            Self::BodyTooLarge => (
                "body-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "Body too large",
                "The body is larger than the gateway takes.",
            ),
            Self::BodyTimeout => (
                "body-timeout",
                StatusCode::REQUEST_TIMEOUT,
                "Body too slow",
                "The body did not arrive in time.",
            ),
            Self::UnknownVehicle => (
                "unknown-vehicle",
                StatusCode::NOT_FOUND,
                "Unknown vehicle",
                "There is no vehicle with this id.",
            ),
            Self::UnknownDebugBlob => (
                "unknown-debug-blob",
                StatusCode::NOT_FOUND,
                "Unknown debug blob",
                "The vehicle has no debug blob with this id.",
            ),
            Self::StoreUnavailable => (
                "store-unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "Store unavailable",
                "The database does not answer or could not commit in time. Try again later.",
            ),
            Self::RequestTimeout => (
                "request-timeout",
                StatusCode::SERVICE_UNAVAILABLE,
                "Request timed out",
                "The gateway could not finish the request in time. Try again later.",
            ),
            Self::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "Internal error",
                "The gateway failed to handle the request. Its log says more.",
            ),
        }
    }
}

/// An error, ready to be answered with.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<InvalidInput>,
}

impl Problem {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            detail: kind.detail().into(),
            errors: Vec::new(),
        }
    }

    pub(super) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// Input that is not valid; the detail names what is wrong first.
    pub(super) fn invalid(kind: Kind, mut errors: Vec<InvalidInput>) -> Self {
        errors.truncate(MAX_ERRORS);
        let problem = Self::new(kind);
        let problem = match errors.first() {
            Some(first) => problem.with_detail(first.to_string()),
            None => problem,
        };
        Self { errors, ..problem }
    }
}

impl From<Kind> for Problem {
    fn from(kind: Kind) -> Self {
        Self::new(kind)
    }
}

impl From<ServiceError> for Problem {
    fn from(error: ServiceError) -> Self {
        match error {
            ServiceError::UnknownVehicle => Self::new(Kind::UnknownVehicle),
            ServiceError::UnknownDebugBlob => Self::new(Kind::UnknownDebugBlob),
            ServiceError::UnknownCommand => Self::new(Kind::NotFound),
            ServiceError::Store(StoreError::Unavailable | StoreError::Closed) => {
                Self::new(Kind::StoreUnavailable)
            }
            ServiceError::Store(error) => {
                tracing::error!(error = %error, "a request failed");
                Self::new(Kind::Internal)
            }
        }
    }
}

/// One thing that is wrong with the input, and where.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(super) struct InvalidInput {
    /// Where in the body: a JSON pointer (RFC 6901); the whole body is `""`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("examples" = ["/latitude"]))]
    pointer: Option<String>,
    /// Which parameter of the path or the query.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("examples" = ["limit"]))]
    parameter: Option<String>,
    /// What is wrong with it.
    #[schemars(extend("examples" = ["must be a whole number from 1 to 1000"]))]
    detail: String,
}

impl InvalidInput {
    pub(super) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: Some(name.into()),
            detail: detail.into(),
        }
    }

    pub(super) fn body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            parameter: None,
            detail: detail.into(),
        }
    }

    pub(super) fn is_about(&self, pointer: &str) -> bool {
        self.pointer.as_deref() == Some(pointer)
    }
}

impl std::fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.parameter, self.pointer.as_deref()) {
            (Some(parameter), _) => write!(f, "Parameter {parameter}: {}.", self.detail),
            (None, None | Some("")) => write!(f, "The body {}.", self.detail),
            (None, Some(pointer)) => write!(f, "Body field {pointer}: {}.", self.detail),
        }
    }
}

/// An error (RFC 9457). Programs tell errors apart by `type`; `detail` is for people.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(super) struct Details<'a> {
    /// Names the kind of error and never changes.
    #[schemars(schema_with = "type_schema")]
    r#type: String,
    /// The kind of error in words.
    title: &'a str,
    /// The HTTP status of the response.
    #[schemars(range(min = 400, max = 599))]
    status: u16,
    /// What happened this time.
    detail: &'a str,
    /// For input that is not valid: each thing that is wrong with it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Vec<InvalidInput>")]
    errors: &'a [InvalidInput],
}

fn type_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    let types: Vec<String> = Kind::ALL.iter().map(|kind| kind.type_uri()).collect();
    json_schema!({ "type": "string", "format": "uri", "enum": types })
}

impl Problem {
    /// The body of the response.
    pub(super) fn details(&self) -> Details<'_> {
        Details {
            r#type: self.kind.type_uri(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            errors: &self.errors,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let content_type = HeaderValue::from_static(MEDIA_TYPE);
        let mut response = (
            status,
            [(header::CONTENT_TYPE, content_type)],
            // Texts and a number: nothing that JSON could refuse.
            serde_json::to_vec(&self.details()).unwrap_or_default(),
        )
            .into_response();
        let headers = response.headers_mut();
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.kind == Kind::BodyTimeout {
            // The rest of the body may still come: it must not be taken for the next request.
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What any operation that reaches the store may answer besides its result.
impl OperationOutput for Problem {
    type Inner = Self;

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        describe::problems(
            ctx,
            operation,
            &[Kind::Internal, Kind::StoreUnavailable, Kind::RequestTimeout],
        );
        Vec::new()
    }
}
