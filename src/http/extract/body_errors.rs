//! Parsing of JSON bodies, with an error for every invalid part.

use garde::Validate;
use schemars::JsonSchema;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::{Value, error::Category};

use crate::http::problem::{InvalidInput, Problem, ProblemKind};

/// Parses and validates a body.
pub(super) fn parse<T>(bytes: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + JsonSchema + Validate<Context = ()>,
{
    let value: T = deserialize(bytes)?;
    value
        .validate()
        .map_err(|report| Problem::invalid(ProblemKind::InvalidBody, range_errors(&report)))?;
    Ok(value)
}

fn deserialize<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize(&mut json) {
        Ok(value) => {
            json.end().map_err(|error| malformed(&error))?;
            // serde also deserializes a struct from an array of its fields in their order, which the API does not
            // accept.
            return if bytes.trim_ascii_start().starts_with(b"{") {
                Ok(value)
            } else {
                Err(Problem::invalid(
                    ProblemKind::InvalidBody,
                    vec![not_an_object()],
                ))
            };
        }
        Err(error) => error,
    };
    // serde reports the first error only. A body that is not JSON is malformed, even if a wrong field comes before the
    // place where it ceases to be JSON.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Err(malformed(&error));
    }
    match error.inner().classify() {
        Category::Data => Err(Problem::invalid(
            ProblemKind::InvalidBody,
            type_errors::<T>(bytes, &error),
        )),
        // Grammatically JSON, but with a number or a string that cannot be represented.
        Category::Syntax | Category::Eof | Category::Io => Err(malformed(error.inner())),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(ProblemKind::MalformedBody)
        .with_detail(format!("The body is not valid JSON: {error}."))
}

/// The errors of a body that does not match its type: unknown fields, missing fields and the first field of a wrong
/// type.
fn type_errors<T: JsonSchema>(
    bytes: &[u8],
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> Vec<InvalidInput> {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else {
        return vec![not_an_object()];
    };
    let mut errors = Vec::new();
    for field in body.keys() {
        if !properties.is_some_and(|known| known.contains_key(field)) {
            errors.push(InvalidInput::body(
                pointer([field.as_str()]),
                "is not a field of this operation",
            ));
        }
    }
    for field in required.into_iter().flatten().filter_map(Value::as_str) {
        if !body.contains_key(field) {
            errors.push(InvalidInput::body(pointer([field]), "is missing"));
        }
    }
    let path = error.path().to_string();
    let place = pointer(path.split(['.', '[', ']']).filter(|part| !part.is_empty()));
    let known = properties.and_then(|known| known.get(&path));
    if let Some(kind) = known.and_then(|schema| schema.get("type")?.as_str()) {
        errors.push(InvalidInput::body(place, format!("must be of type {kind}")));
    } else if errors.is_empty() || !(place.is_empty() || errors.iter().any(|e| e.is_about(&place)))
    {
        let message = error.inner().to_string();
        let detail = message.split(" at line ").next().unwrap_or_default();
        errors.push(InvalidInput::body(place, detail));
    }
    errors
}

fn not_an_object() -> InvalidInput {
    InvalidInput::body("", "must be a JSON object")
}

/// The errors that garde found, with its paths (Rust names, `tags[0]`) as JSON pointers.
fn range_errors(report: &garde::Report) -> Vec<InvalidInput> {
    let place = |path: &garde::Path| {
        let path = path.to_string();
        let parts = path.split(['.', '[', ']']).filter(|part| !part.is_empty());
        pointer(
            parts
                .map(camel_case)
                .collect::<Vec<_>>()
                .iter()
                .map(String::as_str),
        )
    };
    report
        .iter()
        .map(|(path, error)| InvalidInput::body(place(path), error.message()))
        .collect()
}

/// A JSON pointer (RFC 6901).
fn pointer<'a>(parts: impl IntoIterator<Item = &'a str>) -> String {
    let mut pointer = String::new();
    for part in parts {
        pointer.push('/');
        pointer.push_str(&part.replace('~', "~0").replace('/', "~1"));
    }
    pointer
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let mut camel = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        camel.extend(letters.next().map(|first| first.to_ascii_uppercase()));
        camel.push_str(letters.as_str());
    }
    camel
}
