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
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
};
use schemars::{JsonSchema, json_schema};
use serde::Serialize;
use uuid::Uuid;

use super::{describe, kind::Kind};
use crate::{
    commands::{BroadcastError, CommandError},
    vehicles::{StoreError, VehicleError},
    webhooks::EndpointError,
};

/// What every error body is served as.
pub(super) const MEDIA_TYPE: &str = "application/problem+json";
/// How long a caller should wait before it tries again, in seconds.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");
/// A small request with thousands of mistakes is not answered with a large list of them.
const MAX_ERRORS: usize = 20;

/// An error, ready to be answered with.
#[derive(Debug)]
pub(super) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    errors: Vec<InvalidInput>,
    command_id: Option<Uuid>,
    reply: Option<String>,
}

impl Problem {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            kind,
            detail: kind.detail().into(),
            errors: Vec::new(),
            command_id: None,
            reply: None,
        }
    }

    pub(super) fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.detail = detail.into();
        self
    }

    /// What became of this command, and what the vehicle answered.
    pub(super) fn with_command(mut self, id: Uuid, reply: Option<String>) -> Self {
        self.command_id = Some(id);
        self.reply = reply;
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

impl From<VehicleError> for Problem {
    fn from(error: VehicleError) -> Self {
        match error {
            VehicleError::UnknownVehicle => Self::new(Kind::UnknownVehicle),
            VehicleError::UnknownDebugBlob => Self::new(Kind::UnknownDebugBlob),
            VehicleError::UnknownCommand => Self::new(Kind::UnknownCommand),
            VehicleError::Store(
                StoreError::Unavailable | StoreError::Fenced | StoreError::Closed,
            ) => Self::new(Kind::StoreUnavailable),
            VehicleError::Store(error) => {
                tracing::error!(error = %error, "a request failed");
                Self::new(Kind::Internal)
            }
        }
    }
}

impl From<CommandError> for Problem {
    fn from(error: CommandError) -> Self {
        match error {
            CommandError::FanOutUnavailable => Self::new(Kind::FanOutUnavailable),
            CommandError::OwnerUnreachable | CommandError::Moved => {
                Self::new(Kind::OwnerUnreachable)
            }
            CommandError::UnknownVehicle => Self::new(Kind::UnknownVehicle),
            CommandError::Offline => Self::new(Kind::VehicleOffline),
            CommandError::TooMany => Self::new(Kind::TooManyCommands),
            CommandError::KeyReused => Self::new(Kind::IdempotencyKeyReused),
            CommandError::Store(error) => error.into(),
        }
    }
}

impl From<EndpointError> for Problem {
    fn from(error: EndpointError) -> Self {
        let invalid = |pointer, error: &dyn std::error::Error| {
            let input = InvalidInput::body(pointer, error.to_string());
            Self::invalid(Kind::InvalidBody, vec![input])
        };
        match error {
            EndpointError::Unknown => Self::new(Kind::UnknownWebhook),
            EndpointError::UnknownMessage => Self::new(Kind::UnknownMessage),
            EndpointError::Configured => Self::new(Kind::WebhookConfigured),
            EndpointError::Disabled => Self::new(Kind::WebhookDisabled),
            EndpointError::TooMany => Self::new(Kind::TooManyWebhooks),
            EndpointError::Target(error) => invalid("/url", &error),
            EndpointError::Secret(error) => invalid("/secret", &error),
            EndpointError::NoSecret(error) => {
                tracing::error!(error = %error, "no secret can be drawn");
                Self::new(Kind::Internal)
            }
            EndpointError::Store(error) => error.into(),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        VehicleError::from(error).into()
    }
}

impl From<BroadcastError> for Problem {
    fn from(error: BroadcastError) -> Self {
        match error {
            BroadcastError::UnderWay => Self::new(Kind::BroadcastUnderWay),
            BroadcastError::Store(error) => error.into(),
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
    /// Which parameter of the path or the query, or which header.
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
#[serde(rename_all = "camelCase")]
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
    /// For what became of a command: the command's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Uuid")]
    command_id: Option<Uuid>,
    /// For what became of a command: what the vehicle answered, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    reply: Option<&'a str>,
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
            command_id: self.command_id,
            reply: self.reply.as_deref(),
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
        if self.kind.passes() {
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
