//! JSON responses.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{Operation, Response as ResponseDoc},
};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::{
    media_type::JSON,
    openapi::json_response,
    problem::{Problem, ProblemKind},
};
use crate::api_model::Example;

/// A JSON response with status 200.
#[derive(Debug)]
pub(crate) struct Json<T>(pub(crate) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
            Err(error) => {
                tracing::error!(%error, "cannot serialize a response");
                Problem::new(ProblemKind::Internal).into_response()
            }
        }
    }
}

impl<T: JsonSchema + Example> OperationOutput for Json<T> {
    type Inner = T;

    /// The response has the description of its schema.
    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<ResponseDoc> {
        let schema = ctx.schema.subschema_for::<T>();
        let description = ctx.resolve_schema(&schema).get("description");
        let description = description.and_then(Value::as_str).unwrap_or("Success.");
        let description = description.to_owned();
        Some(json_response::<T>(ctx, &description))
    }

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        Self::operation_response(ctx, operation)
            .map(|response| (Some(StatusCode::OK.as_u16()), response))
            .into_iter()
            .collect()
    }
}
