//! Extractors: the path, the query and a header as handlers take them, checked.
//!
//! Each documents its errors itself, so that operations need not repeat them.

use std::{ops::RangeInclusive, str::Utf8Error, sync::Arc};

use aide::{
    OperationInput,
    generate::GenContext,
    openapi::{
        HeaderStyle, Operation, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle,
        QueryStyle, SchemaObject,
    },
    operation::add_parameters,
};
use axum::{
    extract::{FromRequestParts, RawPathParams},
    http::{HeaderValue, request::Parts},
};
use indexmap::IndexMap;
use percent_encoding::percent_decode_str;
use schemars::{Schema, json_schema};
use uuid::Uuid;

use super::{
    Shared, describe,
    kind::Kind,
    problem::{InvalidInput, Problem},
    wire,
};
use crate::{domain::DeviceId, resource};

/// `{deviceId}` of the path. A UUID may be in any case.
#[derive(Debug)]
pub(super) struct DevicePath(pub(super) DeviceId);

impl FromRequestParts<Arc<Shared>> for DevicePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, Problem> {
        let device_id = path_parameter(parts, state, "deviceId").await?;
        match DeviceId::parse(&device_id) {
            Ok(device_id) => Ok(Self(device_id)),
            Err(error) => Err(invalid_parameter("deviceId", &error.to_string())),
        }
    }
}

impl OperationInput for DevicePath {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_device_id(ctx, operation);
        describe::problems(
            ctx,
            operation,
            &[Kind::InvalidParameter, Kind::UnknownVehicle],
        );
    }
}

/// `{deviceId}` and `{blobId}` of the path.
#[derive(Debug)]
pub(super) struct BlobPath {
    pub(super) device_id: DeviceId,
    pub(super) blob_id: i64,
}

impl FromRequestParts<Arc<Shared>> for BlobPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, Problem> {
        let DevicePath(device_id) = DevicePath::from_request_parts(parts, state).await?;
        let text = path_parameter(parts, state, "blobId").await?;
        // One blob, one path: no sign and no leading zero.
        let canonical = text.starts_with(|first: char| ('1'..='9').contains(&first));
        match text.parse() {
            Ok(blob_id) if canonical => Ok(Self { device_id, blob_id }),
            _ => Err(invalid_parameter(
                "blobId",
                "must be a whole number of at least 1, as the list of debug blobs shows it",
            )),
        }
    }
}

impl OperationInput for BlobPath {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_device_id(ctx, operation);
        add_parameters(
            ctx,
            operation,
            [path_parameter_doc(
                "blobId",
                "The debug blob's id, from the list of debug blobs.",
                json_schema!({ "type": "integer", "format": "int64", "minimum": 1, "maximum": i64::MAX, "examples": [7] }),
            )],
        );
        describe::problems(
            ctx,
            operation,
            &[Kind::InvalidParameter, Kind::UnknownDebugBlob],
        );
    }
}

/// `{deviceId}` and `{commandId}` of the path.
#[derive(Debug)]
pub(super) struct CommandPath {
    pub(super) device_id: DeviceId,
    pub(super) command_id: Uuid,
}

impl FromRequestParts<Arc<Shared>> for CommandPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self, Problem> {
        let DevicePath(device_id) = DevicePath::from_request_parts(parts, state).await?;
        let what = "must be a UUID with hyphens, as the list of commands shows it";
        let command_id = uuid_parameter(parts, state, "commandId", what).await?;
        Ok(Self {
            device_id,
            command_id,
        })
    }
}

impl OperationInput for CommandPath {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        document_device_id(ctx, operation);
        add_parameters(
            ctx,
            operation,
            [uuid_parameter_doc(
                "commandId",
                "The command's id, from its result or the list of commands.",
                wire::EXAMPLE_COMMAND_ID,
            )],
        );
        describe::problems(
            ctx,
            operation,
            &[Kind::InvalidParameter, Kind::UnknownCommand],
        );
    }
}

/// The header `Idempotency-Key`, which may be absent.
#[derive(Debug)]
pub(super) struct IdempotencyKey(pub(super) Option<String>);

const IDEMPOTENCY_KEY: &str = "Idempotency-Key";

impl FromRequestParts<Arc<Shared>> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(IDEMPOTENCY_KEY).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        if values.next().is_some() {
            return Err(invalid_parameter(
                IDEMPOTENCY_KEY,
                "is given more than once",
            ));
        }
        idempotency_key(value)
            .map(|key| Self(Some(key.to_owned())))
            .ok_or_else(|| {
                invalid_parameter(IDEMPOTENCY_KEY, "must be 1 to 128 visible ASCII characters")
            })
    }
}

fn idempotency_key(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=128).contains(&text.len())).then_some(text)
}

impl OperationInput for IdempotencyKey {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let description = "A name that the caller gives to this request, such as a new UUID. The same request \
            with the same key, to the same vehicle and within 24 hours, gets the result of the first and makes \
            no second command. With another request the key is refused.";
        let schema = json_schema!({ "type": "string", "pattern": "^[!-~]{1,128}$" });
        let header = Parameter::Header {
            parameter_data: parameter_doc(IDEMPOTENCY_KEY, description, schema, false),
            style: HeaderStyle::Simple,
        };
        add_parameters(ctx, operation, [header]);
        describe::problems(
            ctx,
            operation,
            &[Kind::InvalidParameter, Kind::IdempotencyKeyReused],
        );
    }
}

async fn path_parameter(
    parts: &mut Parts,
    state: &Arc<Shared>,
    name: &'static str,
) -> Result<String, Problem> {
    let parameters = RawPathParams::from_request_parts(parts, state)
        .await
        .map_err(|_| invalid_parameter(name, "is not valid percent-encoded UTF-8"))?;
    let value = parameters.iter().find(|(key, _)| *key == name);
    Ok(value.map(|(_, value)| value.to_owned()).unwrap_or_default())
}

/// A UUID of the path; `otherwise` says what it should have been.
pub(super) async fn uuid_parameter(
    parts: &mut Parts,
    state: &Arc<Shared>,
    name: &'static str,
    otherwise: &str,
) -> Result<Uuid, Problem> {
    let text = path_parameter(parts, state, name).await?;
    // Braces, prefixes and UUIDs without hyphens have other lengths.
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    match Uuid::try_parse(&text) {
        Ok(id) if hyphenated => Ok(id),
        _ => Err(invalid_parameter(name, otherwise)),
    }
}

/// [`uuid_parameter`] for the document.
pub(super) fn uuid_parameter_doc(name: &str, description: &str, example: Uuid) -> Parameter {
    let schema = json_schema!({ "type": "string", "format": "uuid", "examples": [example] });
    path_parameter_doc(name, description, schema)
}

fn invalid_parameter(name: &str, detail: &str) -> Problem {
    Problem::invalid(
        Kind::InvalidParameter,
        vec![InvalidInput::parameter(name, detail)],
    )
}

fn document_device_id(ctx: &mut GenContext, operation: &mut Operation) {
    let parameter = path_parameter_doc(
        "deviceId",
        "The vehicle's id. A UUID may be written in upper or lower case; every other id is case-sensitive.",
        resource::device_id_schema(),
    );
    add_parameters(ctx, operation, [parameter]);
}

fn path_parameter_doc(name: &str, description: &str, schema: Schema) -> Parameter {
    Parameter::Path {
        parameter_data: parameter_doc(name, description, schema, true),
        style: PathStyle::Simple,
    }
}

fn parameter_doc(name: &str, description: &str, schema: Schema, required: bool) -> ParameterData {
    ParameterData {
        name: name.to_owned(),
        description: Some(description.to_owned()),
        required,
        deprecated: None,
        format: ParameterSchemaOrContent::Schema(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        example: None,
        examples: IndexMap::default(),
        explode: None,
        extensions: IndexMap::default(),
    }
}

/// A parameter of the query, for the document.
pub(super) struct QueryParameter {
    pub(super) name: &'static str,
    pub(super) description: &'static str,
    pub(super) schema: Schema,
}

/// What an operation takes from the query.
pub(super) trait FromQuery: Sized {
    /// The parameters, for the document.
    fn parameters() -> Vec<QueryParameter>;

    /// Takes the parameters; what is wrong with them is noted in `fields`.
    fn from_query(fields: &mut QueryFields) -> Self;
}

/// The query. Parameters that the operation does not know, that are given twice or that are not
/// valid are refused, all at once.
#[derive(Debug)]
pub(super) struct Query<T>(pub(super) T);

impl<T: FromQuery> FromRequestParts<Arc<Shared>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Problem> {
        let mut fields = QueryFields::parse(parts.uri.query().unwrap_or_default());
        let query = T::from_query(&mut fields);
        fields.finish()?;
        Ok(Self(query))
    }
}

impl<T: FromQuery> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let parameters = T::parameters()
            .into_iter()
            .map(|parameter| Parameter::Query {
                parameter_data: parameter_doc(
                    parameter.name,
                    parameter.description,
                    parameter.schema,
                    false,
                ),
                allow_reserved: false,
                style: QueryStyle::Form,
                allow_empty_value: None,
            });
        add_parameters(ctx, operation, parameters);
        describe::problems(ctx, operation, &[Kind::InvalidParameter]);
    }
}

/// The decoded pairs of a query that nobody has taken yet, and what is wrong so far.
#[derive(Debug)]
pub(super) struct QueryFields {
    pairs: Vec<(String, String)>,
    errors: Vec<InvalidInput>,
}

impl QueryFields {
    fn parse(query: &str) -> Self {
        let mut fields = Self {
            pairs: Vec::new(),
            errors: Vec::new(),
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (decode(name), decode(value)) {
                (Ok(name), Ok(value)) => fields.pairs.push((name, value)),
                _ => fields.errors.push(InvalidInput::parameter(
                    percent_decode_str(name).decode_utf8_lossy(),
                    "is not valid percent-encoded UTF-8",
                )),
            }
        }
        fields
    }

    /// The parameter `name`, if it is there, once, and `parse` takes it.
    pub(super) fn take<T>(
        &mut self,
        name: &str,
        parse: impl FnOnce(&str) -> Result<T, &'static str>,
    ) -> Option<T> {
        let mut values = self.pairs.extract_if(.., |(key, _)| key == name);
        let (_, value) = values.next()?;
        if values.count() > 0 {
            self.errors
                .push(InvalidInput::parameter(name, "is given more than once"));
            return None;
        }
        parse(&value)
            .map_err(|detail| self.errors.push(InvalidInput::parameter(name, detail)))
            .ok()
    }

    /// The parameter `name`, if it is there, once, and a whole number of this range.
    pub(super) fn take_whole_number(
        &mut self,
        name: &str,
        range: RangeInclusive<u16>,
        otherwise: &'static str,
    ) -> Option<u16> {
        self.take(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(number) if digits && range.contains(&number) => Ok(number),
                _ => Err(otherwise),
            }
        })
    }

    fn finish(mut self) -> Result<(), Problem> {
        for (name, _) in self.pairs {
            self.errors.push(InvalidInput::parameter(
                name,
                "is not a parameter of this operation",
            ));
        }
        if self.errors.is_empty() {
            Ok(())
        } else {
            Err(Problem::invalid(Kind::InvalidParameter, self.errors))
        }
    }
}

fn decode(text: &str) -> Result<String, Utf8Error> {
    let spaced = text.replace('+', " ");
    Ok(percent_decode_str(&spaced).decode_utf8()?.into_owned())
}
