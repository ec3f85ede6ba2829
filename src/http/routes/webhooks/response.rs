//! Responses with a `Location`.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{Operation, ReferenceOr, Response as ResponseDoc},
};
use axum::{
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    api_model::Example,
    http::{
        json::Json,
        openapi::{json_response, location_header},
    },
};

/// 201 with the new resource.
pub(super) struct Created<T> {
    pub(super) location: String,
    pub(super) body: T,
}

impl<T: Serialize> IntoResponse for Created<T> {
    fn into_response(self) -> Response {
        let location = [(header::LOCATION, self.location)];
        (StatusCode::CREATED, location, Json(self.body)).into_response()
    }
}

impl<T: JsonSchema + Example> OperationOutput for Created<T> {
    type Inner = T;

    fn inferred_responses(
        ctx: &mut GenContext,
        _: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        let created = json_response::<T>(ctx, "The webhook was created.");
        let created = with_location(created, "The path of the new webhook.");
        vec![(Some(StatusCode::CREATED.as_u16()), created)]
    }
}

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

fn with_location(mut response: ResponseDoc, description: &str) -> ResponseDoc {
    let (name, location) = location_header(description);
    response.headers.insert(name, ReferenceOr::Item(location));
    response
}
