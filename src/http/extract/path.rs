//! The parameters of a request's path.

use std::sync::Arc;

use aide::{OperationInput, generate::GenContext, openapi::Operation, operation::add_parameters};
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::request::Parts,
};
use schemars::{Schema, json_schema};
use uuid::Uuid;

use crate::{
    api_model::device_id_schema,
    domain::DeviceId,
    http::{
        openapi::{document_problems, path_parameter},
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
};

/// A parameter of the path: an id that names a resource.
pub(crate) trait PathParameter: Sized + Send {
    /// The name in the route, as in `{deviceId}`.
    const NAME: &'static str;
    /// The description in the `OpenAPI` document.
    const DESCRIPTION: &'static str;
    /// The problems that an operation documents for a resource that does not exist, if this is the last parameter of
    /// its path.
    const UNKNOWN: &'static [ProblemKind];

    /// The schema in the `OpenAPI` document.
    fn schema() -> Schema;

    /// Parses the decoded parameter. The error is shown behind the parameter's name, as in "must be a UUID".
    fn parse(text: &str) -> Result<Self, String>;
}

/// Extracts the path's parameter, or a pair of them in the order of the route.
#[derive(Debug)]
pub(crate) struct Path<T>(pub(crate) T);

impl<T: PathParameter> FromRequestParts<Arc<ApiState>> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let parameters = RawPathParams::from_request_parts(parts, state)
            .await
            .map_err(|_| {
                Problem::invalid_parameter(T::NAME, "is not valid percent-encoded UTF-8")
            })?;
        parameter(&parameters).map(Self)
    }
}

impl<A: PathParameter, B: PathParameter> FromRequestParts<Arc<ApiState>> for Path<(A, B)> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let Path(first) = Path::<A>::from_request_parts(parts, state).await?;
        let Path(second) = Path::<B>::from_request_parts(parts, state).await?;
        Ok(Self((first, second)))
    }
}

fn parameter<T: PathParameter>(parameters: &RawPathParams) -> Result<T, Problem> {
    let text = parameters.iter().find(|(name, _)| *name == T::NAME);
    let (_, text) = text.unwrap_or_default();
    T::parse(text).map_err(|detail| Problem::invalid_parameter(T::NAME, detail))
}

impl<T: PathParameter> OperationInput for Path<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_parameter::<T>(ctx, operation);
        document_problems(ctx, operation, &[ProblemKind::InvalidParameter]);
        document_problems(ctx, operation, T::UNKNOWN);
    }
}

impl<A: PathParameter, B: PathParameter> OperationInput for Path<(A, B)> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_parameter::<A>(ctx, operation);
        Path::<B>::operation_input(ctx, operation);
    }
}

fn document_parameter<T: PathParameter>(ctx: &mut GenContext, operation: &mut Operation) {
    let parameter = path_parameter(T::NAME, T::DESCRIPTION, T::schema());
    add_parameters(ctx, operation, [parameter]);
}

impl PathParameter for DeviceId {
    const NAME: &'static str = "deviceId";
    const DESCRIPTION: &'static str = "The vehicle's id. A UUID may be written in upper or lower case; every other id is case-sensitive.";
    const UNKNOWN: &'static [ProblemKind] = &[ProblemKind::UnknownVehicle];

    fn schema() -> Schema {
        device_id_schema()
    }

    fn parse(text: &str) -> Result<Self, String> {
        DeviceId::parse(text).map_err(|error| error.to_string())
    }
}

/// Parses a UUID with hyphens. Other forms that the `uuid` crate accepts (braces, `urn:uuid:`, no hyphens) are refused
/// by their length.
pub(crate) fn parse_uuid(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    Uuid::try_parse(text).ok().filter(|_| hyphenated)
}

/// The schema of a UUID.
pub(crate) fn uuid_schema(example: Uuid) -> Schema {
    json_schema!({ "type": "string", "format": "uuid", "examples": [example] })
}
