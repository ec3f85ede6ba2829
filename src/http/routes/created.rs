//! 201: responses with a new resource.

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
pub(crate) struct Created<T> {
    pub(crate) location: String,
    pub(crate) body: T,
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
        let created = json_response::<T>(ctx, "Created.");
        let created = with_location(created, "The path of the new resource.");
        vec![(Some(StatusCode::CREATED.as_u16()), created)]
    }
}

/// Documents the header `Location` of a response.
pub(super) fn with_location(mut response: ResponseDoc, description: &str) -> ResponseDoc {
    let (name, location) = location_header(description);
    response.headers.insert(name, ReferenceOr::Item(location));
    response
}
