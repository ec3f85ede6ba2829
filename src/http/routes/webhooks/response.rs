//! 202: a response with a message that is queued.

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

use crate::{
    api_model::Example,
    http::{json::Json, openapi::json_response, routes::created::with_location},
};

/// 202 with the message that is queued.
pub(super) struct Accepted<T> {
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Accepted<T> {
    fn into_response(self) -> Response {
        let location = [(header::LOCATION, self.location)];
        (StatusCode::ACCEPTED, location, Json(self.body)).into_response()
    }
}

impl<T: JsonSchema + Example> OperationOutput for Accepted<T> {
    type Inner = T;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let accepted = json_response::<T>(ctx, "The message is queued.");
        let accepted = with_location(accepted, "The path of the message.");
        vec![(Some(StatusCode::ACCEPTED.as_u16()), accepted)]
    }
}
