//! Error responses in the document.

use aide::{
    OperationOutput,
    generate::GenContext,
    openapi::{
        Example as ExampleDoc, Operation, ReferenceOr, Response as ResponseDoc,
        StatusCode as StatusDoc,
    },
};
use schemars::json_schema;
use serde_json::json;

use super::content::{header, media};
use crate::{
    api_model::EXAMPLE_COMMAND_ID,
    domain::Answer,
    http::{
        media_type::PROBLEM_JSON,
        problem::{Problem, ProblemDetails, ProblemKind},
    },
};

/// Adds these kinds of problem to the documentation of an operation. Kinds with the same status share a response, with
/// an example for each.
pub(crate) fn document_problems(
    ctx: &mut GenContext,
    operation: &mut Operation,
    kinds: &[ProblemKind],
) {
    let schema = ctx.schema.subschema_for::<ProblemDetails<'static>>();
    let responses = operation.responses.get_or_insert_default();
    for &kind in kinds {
        let response = responses
            .responses
            .entry(StatusDoc::Code(kind.status().as_u16()))
            .or_insert_with(|| ReferenceOr::Item(ResponseDoc::default()));
        let ReferenceOr::Item(response) = response else {
            continue;
        };
        let content = response
            .content
            .entry(PROBLEM_JSON.to_owned())
            .or_insert_with(|| media(schema.clone()));
        if content.examples.contains_key(kind.name()) {
            continue;
        }
        let example = ReferenceOr::Item(example(kind));
        content.examples.insert(kind.name().to_owned(), example);
        if !response.description.is_empty() {
            response.description.push_str(", or: ");
        }
        response.description.push_str(kind.title());
        if kind.is_temporary() {
            response.headers.insert(
                "Retry-After".to_owned(),
                ReferenceOr::Item(header(
                    "The number of seconds after which to try again.",
                    json_schema!({ "type": "integer", "minimum": 0 }),
                )),
            );
        }
    }
}

fn example(kind: ProblemKind) -> ExampleDoc {
    let problem = match kind {
        ProblemKind::InvalidParameter => {
            Problem::invalid_parameter("limit", "must be a whole number from 1 to 1000")
        }
        ProblemKind::InvalidBody => Problem::invalid_field("/deviceId", "is missing"),
        ProblemKind::VehicleRefused => {
            Problem::new(kind).with_command(EXAMPLE_COMMAND_ID, Some(Answer::Cannot.to_string()))
        }
        ProblemKind::VehicleOffline
        | ProblemKind::VehicleDisconnected
        | ProblemKind::VehicleNoAnswer
        | ProblemKind::CommandSuperseded
        | ProblemKind::CommandExpired => Problem::new(kind).with_command(EXAMPLE_COMMAND_ID, None),
        _ => Problem::new(kind),
    };
    ExampleDoc {
        summary: Some(kind.title().to_owned()),
        value: Some(json!(problem.details())),
        ..ExampleDoc::default()
    }
}

/// Documents the problems that every operation with access to the database can answer with.
impl OperationOutput for Problem {
    type Inner = Self;

    fn inferred_responses(
        ctx: &mut GenContext,
        operation: &mut Operation,
    ) -> Vec<(Option<u16>, ResponseDoc)> {
        document_problems(
            ctx,
            operation,
            &[
                ProblemKind::Internal,
                ProblemKind::StoreUnavailable,
                ProblemKind::RequestTimeout,
            ],
        );
        Vec::new()
    }
}
