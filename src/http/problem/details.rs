//! The body of an error response, by RFC 9457.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Serialize;
use uuid::Uuid;

use super::{invalid_input::InvalidInput, kind::ProblemKind};

/// The body of an error response (RFC 9457).
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "Problem", transform = list_kinds)]
pub(crate) struct ProblemDetails<'a> {
    /// Identifies the kind of problem. The values never change.
    #[schemars(with = "ProblemType")]
    pub(super) r#type: String,
    /// The name of the kind of problem, for people.
    pub(super) title: &'a str,
    /// The HTTP status of the response.
    #[schemars(range(min = 400, max = 599))]
    pub(super) status: u16,
    /// An explanation of this problem, for people.
    pub(super) detail: &'a str,
    /// For invalid input: every invalid part of it.
    #[serde(default, skip_serializing_if = "<[_]>::is_empty")]
    #[schemars(with = "Vec<InvalidInput>")]
    pub(super) errors: &'a [InvalidInput],
    /// For a command that failed: the command's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Uuid")]
    pub(super) command_id: Option<Uuid>,
    /// For a command that failed: the vehicle's reply, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String")]
    pub(super) reply: Option<&'a str>,
}

/// The schema of [`ProblemDetails::type`](ProblemDetails).
struct ProblemType;

impl JsonSchema for ProblemType {
    fn schema_name() -> Cow<'static, str> {
        "ProblemType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let types: Vec<String> = ProblemKind::ALL
            .iter()
            .map(|kind| kind.type_uri())
            .collect();
        json_schema!({
            "description": "A kind of problem.",
            "type": "string",
            "format": "uri",
            "enum": types,
        })
    }
}

/// Describes the schema with a table of all kinds, which `/docs` shows behind the operations.
fn list_kinds(schema: &mut Schema) {
    let mut text = String::from(
        "An error response (RFC 9457). Clients distinguish errors by `type`; `title` and `detail` are for people.\n\n\
         | `urn:vehicle-gateway:problem:…` | Status | Meaning |\n|---|---|---|\n",
    );
    for kind in ProblemKind::ALL {
        let row = [kind.name(), kind.status().as_str(), kind.title()].join(" | ");
        text.push_str("| ");
        text.push_str(&row);
        text.push_str(" |\n");
    }
    schema.insert("description".to_owned(), text.into());
}
