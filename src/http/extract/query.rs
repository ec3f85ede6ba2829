//! The query of a request.

use std::{ops::RangeInclusive, str::Utf8Error, sync::Arc};

use aide::{OperationInput, generate::GenContext, openapi::Operation, operation::add_parameters};
use axum::{extract::FromRequestParts, http::request::Parts};
use percent_encoding::percent_decode_str;
use schemars::{Schema, SchemaGenerator};

use crate::http::{
    openapi::{document_problems, query_parameter},
    problem::{InvalidInput, Problem, ProblemKind},
    state::ApiState,
};

/// A parameter of the query, for the `OpenAPI` document.
pub(crate) struct QueryParameter {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) schema: Schema,
}

/// The parameters of an operation's query.
pub(crate) trait FromQuery: Sized {
    /// The parameters, for the `OpenAPI` document. Schemas that others share are in `generator`.
    fn parameters(generator: &mut SchemaGenerator) -> Vec<QueryParameter>;

    /// Takes the parameters from `fields`, which collects the errors. The result is not used if there are any.
    fn from_query(fields: &mut QueryFields) -> Self;
}

/// Extracts the query. Unknown, repeated and invalid parameters are rejected with one response that lists them all.
#[derive(Debug)]
pub(crate) struct Query<T>(pub(crate) T);

impl<T: FromQuery> FromRequestParts<Arc<ApiState>> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        let mut fields = QueryFields::parse(parts.uri.query().unwrap_or_default());
        let query = T::from_query(&mut fields);
        fields.finish()?;
        Ok(Self(query))
    }
}

impl<T: FromQuery> OperationInput for Query<T> {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let parameters = T::parameters(&mut ctx.schema).into_iter().map(
            |QueryParameter {
                 name,
                 description,
                 schema,
             }| query_parameter(name, description, schema),
        );
        add_parameters(ctx, operation, parameters);
        document_problems(ctx, operation, &[ProblemKind::InvalidParameter]);
    }
}

/// The decoded pairs of a query that are not taken yet, and the errors so far.
#[derive(Debug)]
pub(crate) struct QueryFields {
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

    /// Takes the parameter `name`; `None` if it is absent, repeated or rejected by `parse`.
    pub(crate) fn take<T>(
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

    /// Takes the parameter `name` as a whole number; `detail` is the error for any other value and for one outside of
    /// `range`.
    pub(crate) fn take_whole_number(
        &mut self,
        name: &str,
        range: RangeInclusive<u16>,
        detail: &'static str,
    ) -> Option<u16> {
        self.take(name, |text| {
            let digits = text.bytes().all(|byte| byte.is_ascii_digit());
            match text.parse() {
                Ok(number) if digits && range.contains(&number) => Ok(number),
                _ => Err(detail),
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
            Err(Problem::invalid(ProblemKind::InvalidParameter, self.errors))
        }
    }
}

fn decode(text: &str) -> Result<String, Utf8Error> {
    let spaced = text.replace('+', " ");
    Ok(percent_decode_str(&spaced).decode_utf8()?.into_owned())
}
