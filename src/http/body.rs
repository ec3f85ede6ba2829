//! JSON, in and out: request bodies that are checked as a whole, and responses with an example.

use std::sync::Arc;

use aide::{
    OperationInput, OperationOutput,
    generate::GenContext,
    openapi::{Operation, RequestBody, Response as ResponseDoc},
    operation::set_body,
};
use axum::{
    body::{Body, HttpBody},
    extract::{FromRequest, Request},
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use garde::Validate;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{DeserializeOwned, Error as _, IgnoredAny},
};
use serde_json::{Value, error::Category};

use super::{
    HttpOptions, Shared,
    describe::{self, Example, JSON},
    kind::Kind,
    problem::{InvalidInput, Problem},
};

/// A JSON body, of the right type and within its ranges.
#[derive(Debug)]
pub(super) struct JsonBody<T>(pub(super) T);

impl<T> FromRequest<Arc<Shared>> for JsonBody<T>
where
    T: DeserializeOwned + JsonSchema + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        check_content_type(&parts.headers, &body)?;
        let bytes = read_in_time(body, &state.options).await?;
        checked(&bytes).map(Self)
    }
}

/// A JSON body that may be left out: then it is one without fields.
#[derive(Debug)]
pub(super) struct OptionalJsonBody<T>(pub(super) T);

impl<T> FromRequest<Arc<Shared>> for OptionalJsonBody<T>
where
    T: Default + DeserializeOwned + JsonSchema + Validate<Context = ()>,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        let typed = parts.headers.contains_key(header::CONTENT_TYPE);
        if typed {
            check_content_type(&parts.headers, &body)?;
        }
        let bytes = read_in_time(body, &state.options).await?;
        // A body that comes in chunks shows only now that nothing is in it.
        match (bytes.is_empty(), typed) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => checked(&bytes).map(Self),
            (false, false) => Err(Kind::UnsupportedMediaType.into()),
        }
    }
}

async fn read_in_time(body: Body, options: &HttpOptions) -> Result<Bytes, Problem> {
    tokio::time::timeout(options.body_timeout(), read(body, options.max_body))
        .await
        .unwrap_or(Err(Kind::BodyTimeout.into()))
}

fn checked<T>(bytes: &[u8]) -> Result<T, Problem>
where
    T: DeserializeOwned + JsonSchema + Validate<Context = ()>,
{
    let value: T = parse(bytes)?;
    value
        .validate()
        .map_err(|report| Problem::invalid(Kind::InvalidBody, out_of_range(&report)))?;
    Ok(value)
}

/// A field that may be left out, but not be null (unless null is one of its values).
pub(super) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// [`whole_number`] for a field that may be left out, but not be null.
pub(super) fn optional_whole_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    whole_number(deserializer).map(Some)
}

/// A whole number as JSON Schema has it: `80.0` is one. Beyond 64 bits it becomes the nearest.
pub(super) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the cast saturates, and a range check follows"
    )]
    let from_float = |float: f64| (float.fract() == 0.0).then_some(float as i64);
    number
        .as_i64()
        .or_else(|| number.as_f64().and_then(from_float))
        .ok_or_else(|| D::Error::custom("must be a whole number"))
}

fn check_content_type(headers: &HeaderMap, body: &Body) -> Result<(), Problem> {
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else {
        if body.size_hint().exact() == Some(0) {
            return Err(Problem::new(Kind::MalformedBody).with_detail("The body is missing."));
        }
        return Err(Kind::UnsupportedMediaType.into());
    };
    let essence = content_type
        .to_str()
        .ok()
        .and_then(|text| text.split(';').next())
        .unwrap_or_default();
    if essence.trim().eq_ignore_ascii_case(JSON) {
        Ok(())
    } else {
        Err(Kind::UnsupportedMediaType.into())
    }
}

async fn read(body: Body, max: usize) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(Kind::BodyTooLarge)
            .with_detail(format!("The body is larger than {max} bytes."))
    };
    // Known from Content-Length: no need to read any of it.
    if body.size_hint().lower() > max as u64 {
        return Err(too_large());
    }
    match Limited::new(body, max).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(_) => {
            Err(Problem::new(Kind::MalformedBody).with_detail("The body ended before its end."))
        }
    }
}

fn parse<T: DeserializeOwned + JsonSchema>(bytes: &[u8]) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let error = match serde_path_to_error::deserialize(&mut json) {
        Ok(value) => {
            json.end().map_err(|error| malformed(&error))?;
            // serde takes an array for a struct as well: its entries for the fields in their order.
            return if bytes.trim_ascii_start().starts_with(b"{") {
                Ok(value)
            } else {
                Err(Problem::invalid(Kind::InvalidBody, vec![no_object()]))
            };
        }
        Err(error) => error,
    };
    // A body that is no JSON at all is malformed, whatever was wrong with it before that showed.
    if let Err(error) = serde_json::from_slice::<IgnoredAny>(bytes) {
        return Err(malformed(&error));
    }
    match error.inner().classify() {
        Category::Data => Err(Problem::invalid(
            Kind::InvalidBody,
            misfits::<T>(bytes, &error),
        )),
        // JSON by its grammar, but with a number or a text that nothing can hold.
        Category::Syntax | Category::Eof | Category::Io => Err(malformed(error.inner())),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(Kind::MalformedBody).with_detail(format!("The body is not valid JSON: {error}."))
}

/// Why a body does not fit its type: every unknown and missing field, and the first of the wrong type.
fn misfits<T: JsonSchema>(
    bytes: &[u8],
    error: &serde_path_to_error::Error<serde_json::Error>,
) -> Vec<InvalidInput> {
    let schema = schemars::schema_for!(T);
    let properties = schema.get("properties").and_then(Value::as_object);
    let required = schema.get("required").and_then(Value::as_array);
    let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else {
        return vec![no_object()];
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

fn no_object() -> InvalidInput {
    InvalidInput::body("", "must be a JSON object")
}

/// What garde found, with its paths (Rust names, `tags[0]`) as JSON pointers.
fn out_of_range(report: &garde::Report) -> Vec<InvalidInput> {
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
        content: describe::json_content::<T>(ctx),
        required,
        extensions: IndexMap::default(),
    };
    set_body(ctx, operation, body);
    describe::problems(
        ctx,
        operation,
        &[
            Kind::MalformedBody,
            Kind::BodyTimeout,
            Kind::BodyTooLarge,
            Kind::UnsupportedMediaType,
            Kind::InvalidBody,
        ],
    );
}

/// A JSON response with status 200.
#[derive(Debug)]
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(body) => ([(header::CONTENT_TYPE, JSON)], body).into_response(),
            Err(error) => {
                tracing::error!(error = %error, "a response could not be written as JSON");
                Problem::new(Kind::Internal).into_response()
            }
        }
    }
}

impl<T: JsonSchema + Example> OperationOutput for Json<T> {
    type Inner = T;

    fn operation_response(ctx: &mut GenContext, _: &mut Operation) -> Option<ResponseDoc> {
        let schema = ctx.schema.subschema_for::<T>();
        let description = ctx.resolve_schema(&schema).get("description");
        let description = description.and_then(Value::as_str).unwrap_or("Done.");
        let description = description.to_owned();
        Some(describe::json_response::<T>(ctx, &description))
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
