//! JSON request bodies: read within the limits, deserialized and validated.

use std::sync::Arc;

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{Operation, RequestBody},
    operation::set_body,
};
use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use bytes::Bytes;
use garde::Validate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

use super::body_errors::parse;
use crate::{
    api_model::Example,
    http::{
        media_type::JSON,
        openapi::{document_problems, json_content},
        options::HttpOptions,
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
};

/// Extracts a JSON body that has the right type and is within its ranges.
#[derive(Debug)]
pub(crate) struct JsonBody<T>(pub(crate) T);

impl<T> FromRequest<Arc<ApiState>> for JsonBody<T>
where
    T: DeserializeOwned + JsonSchema + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_content_type(&parts.headers, &body)?;
        let bytes = read_within_limits(body, &state.options).await?;
        parse(&bytes).map(Self)
    }
}

/// Extracts a JSON body that may be absent, which means the same as one without fields.
#[derive(Debug)]
pub(crate) struct OptionalJsonBody<T>(pub(crate) T);

impl<T> FromRequest<Arc<ApiState>> for OptionalJsonBody<T>
where
    T: Default + DeserializeOwned + JsonSchema + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<ApiState>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let typed = parts.headers.contains_key(header::CONTENT_TYPE);
        if typed {
            check_content_type(&parts.headers, &body)?;
        }
        let bytes = read_within_limits(body, &state.options).await?;
        // Whether a chunked body is empty is known only now.
        match (bytes.is_empty(), typed) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => parse(&bytes).map(Self),
            (false, false) => Err(ProblemKind::UnsupportedMediaType.into()),
        }
    }
}

async fn read_within_limits(body: Body, options: &HttpOptions) -> Result<Bytes, Problem> {
    tokio::time::timeout(options.body_timeout(), read(body, options.max_body))
        .await
        .unwrap_or(Err(ProblemKind::BodyTimeout.into()))
}

fn check_content_type(headers: &HeaderMap, body: &Body) -> Result<(), Problem> {
    let mut content_types = headers.get_all(header::CONTENT_TYPE).iter();
    let Some(content_type) = content_types.next() else {
        if body.size_hint().exact() == Some(0) {
            return Err(
                Problem::new(ProblemKind::MalformedBody).with_detail("The body is missing.")
            );
        }
        return Err(ProblemKind::UnsupportedMediaType.into());
    };
    let essence = content_type
        .to_str()
        .ok()
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(JSON) && content_types.next().is_none() {
        Ok(())
    } else {
        Err(ProblemKind::UnsupportedMediaType.into())
    }
}

async fn read(body: Body, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(ProblemKind::BodyTooLarge)
            .with_detail(format!("The body is larger than {max} bytes."))
    };
    // A Content-Length above the limit is refused before any of the body is read.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => {
            Err(Problem::new(ProblemKind::MalformedBody).with_detail("The body is incomplete."))
        }
    }
}

impl<T: JsonSchema + Example> OperationInput for JsonBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_body::<T>(ctx, operation, true);
    }
}

impl<T: JsonSchema + Example> OperationInput for OptionalJsonBody<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_body::<T>(ctx, operation, false);
    }
}

fn document_body<T: JsonSchema + Example>(
    ctx: &mut GenContext,
    operation: &mut Operation,
    required: bool,
) {
    let body = RequestBody {
        description: None,
        content: IndexMap::from_iter([(JSON.to_owned(), json_content::<T>(ctx))]),
        required,
        extensions: IndexMap::default(),
    };
    set_body(ctx, operation, body);
    document_problems(
        ctx,
        operation,
        &[
            ProblemKind::MalformedBody,
            ProblemKind::BodyTimeout,
            ProblemKind::BodyTooLarge,
            ProblemKind::UnsupportedMediaType,
            ProblemKind::InvalidBody,
        ],
    );
}
