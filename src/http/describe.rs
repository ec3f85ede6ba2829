//! How bodies, headers and errors appear in the API's description.

use aide::{
    generate::GenContext,
    openapi::{
        Example as ExampleDoc, Header, HeaderStyle, MediaType, Operation, ParameterSchemaOrContent,
        ReferenceOr, Response as ResponseDoc, SchemaObject, StatusCode as StatusDoc,
    },
};
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Value, json};

use super::{
    kind::Kind,
    problem::{self, Details, InvalidInput, Problem},
    wire,
};
use crate::domain::Answer;

/// The media type of bodies and of responses that are no errors.
pub(super) const JSON: &str = "application/json";

/// A type with an example for the document.
pub(super) trait Example {
    /// The example, as JSON.
    fn example() -> Value;
}

/// Content of this schema.
pub(super) fn media(schema: Schema) -> MediaType {
    MediaType {
        schema: Some(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        ..MediaType::default()
    }
}

/// A JSON response for the document, with its example.
pub(super) fn json_response<T: JsonSchema + Example>(
    ctx: &mut GenContext,
    description: &str,
) -> ResponseDoc {
    ResponseDoc {
        description: description.to_owned(),
        content: json_content::<T>(ctx),
        ..ResponseDoc::default()
    }
}

/// JSON content for the document, with its example.
pub(super) fn json_content<T: JsonSchema + Example>(
    ctx: &mut GenContext,
) -> IndexMap<String, MediaType> {
    let media = MediaType {
        example: Some(T::example()),
        ..media(ctx.schema.subschema_for::<T>())
    };
    IndexMap::from_iter([(JSON.to_owned(), media)])
}

/// Adds kinds of error to an operation. Kinds with one status share a response, with an example each.
pub(super) fn problems(ctx: &mut GenContext, operation: &mut Operation, kinds: &[Kind]) {
    let schema = ctx.schema.subschema_for::<Details<'static>>();
    let responses = operation.responses.get_or_insert_default();
    for &kind in kinds {
        let entry = responses
            .responses
            .entry(StatusDoc::Code(kind.status().as_u16()))
            .or_insert_with(|| ReferenceOr::Item(ResponseDoc::default()));
        let ReferenceOr::Item(response) = entry else {
            continue;
        };
        let media = response
            .content
            .entry(problem::MEDIA_TYPE.to_owned())
            .or_insert_with(|| media(schema.clone()));
        if media.examples.contains_key(kind.name()) {
            continue;
        }
        media.examples.insert(
            kind.name().to_owned(),
            ReferenceOr::Item(problem_example(kind)),
        );
        if !response.description.is_empty() {
            response.description.push_str(", or: ");
        }
        response.description.push_str(kind.title());
        if kind.passes() {
            response.headers.insert(
                "Retry-After".to_owned(),
                ReferenceOr::Item(header(
                    "Seconds after which to try again.",
                    json_schema!({ "type": "integer", "minimum": 0 }),
                )),
            );
        }
    }
}

/// A response header, always present, for the document.
pub(super) fn header(description: &str, schema: Schema) -> Header {
    Header {
        description: Some(description.to_owned()),
        style: HeaderStyle::Simple,
        required: true,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        example: None,
        examples: IndexMap::default(),
        extensions: IndexMap::default(),
    }
}

fn problem_example(kind: Kind) -> ExampleDoc {
    let problem = match kind {
        Kind::InvalidParameter => Problem::invalid(
            kind,
            vec![InvalidInput::parameter(
                "limit",
                "must be a whole number from 1 to 1000",
            )],
        ),
        Kind::InvalidBody => {
            Problem::invalid(kind, vec![InvalidInput::body("/deviceId", "is missing")])
        }
        Kind::VehicleRefused => Problem::new(kind)
            .with_command(wire::EXAMPLE_COMMAND_ID, Some(Answer::Cannot.to_string())),
        Kind::VehicleOffline
        | Kind::VehicleDisconnected
        | Kind::VehicleNoAnswer
        | Kind::CommandSuperseded
        | Kind::CommandExpired => Problem::new(kind).with_command(wire::EXAMPLE_COMMAND_ID, None),
        _ => Problem::new(kind),
    };
    ExampleDoc {
        summary: Some(kind.title().to_owned()),
        value: Some(json!(problem.details())),
        ..ExampleDoc::default()
    }
}
