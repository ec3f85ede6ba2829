//! The header `Idempotency-Key`.

use std::sync::Arc;

use aide::{OperationInput, generate::GenContext, openapi::Operation, operation::add_parameters};
use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, request::Parts},
};
use schemars::json_schema;
use sha2::{Digest, Sha256};

use crate::{
    access::Caller,
    http::{
        openapi::{document_problems, header_parameter},
        problem::{Problem, ProblemKind},
        state::ApiState,
    },
};

const NAME: &str = "Idempotency-Key";
/// The longest key, in bytes.
const MAX_LEN: usize = 128;

/// Extracts the header `Idempotency-Key`, which may be absent. The value stands for the caller as well: two callers that
/// choose the same do not get each other's results.
#[derive(Debug)]
pub(crate) struct IdempotencyKeyHeader(pub(crate) Option<String>);

impl FromRequestParts<Arc<ApiState>> for IdempotencyKeyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        let mut values = parts.headers.get_all(NAME).iter();
        let Some(value) = values.next() else {
            return Ok(Self(None));
        };
        if values.next().is_some() {
            return Err(Problem::invalid_parameter(NAME, "is given more than once"));
        }
        match parse(value) {
            Some(key) => Ok(Self(Some(of_caller(parts.extensions.get(), key)))),
            None => Err(Problem::invalid_parameter(
                NAME,
                format!("must be 1 to {MAX_LEN} visible ASCII characters"),
            )),
        }
    }
}

/// What stands for this key of this caller: the key itself without a caller's key, else a text that is no longer than
/// [`MAX_LEN`].
fn of_caller(caller: Option<&Caller>, key: &str) -> String {
    let Some(identity) = caller.and_then(Caller::identity) else {
        return key.to_owned();
    };
    let hash = Sha256::digest(format!("{identity}\n{key}"));
    format!("sha256:{}", hex::encode(hash))
}

fn parse(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    let visible = text.bytes().all(|byte| byte.is_ascii_graphic());
    (visible && (1..=MAX_LEN).contains(&text.len())).then_some(text)
}

impl OperationInput for IdempotencyKeyHeader {
    fn operation_input(ctx: &mut GenContext, operation: &mut Operation) {
        let description = "A unique value chosen by the client, such as a new UUID. Within 24 hours, repeating a \
            request for the same vehicle with the same key returns the result of the first request and creates no \
            second command. A different request with the same key is rejected. Each caller, by its key of the API, has \
            values of its own.";
        let pattern = format!("^[!-~]{{1,{MAX_LEN}}}$");
        let schema = json_schema!({ "type": "string", "pattern": pattern });
        add_parameters(
            ctx,
            operation,
            [header_parameter(NAME, description, schema)],
        );
        document_problems(
            ctx,
            operation,
            &[
                ProblemKind::InvalidParameter,
                ProblemKind::IdempotencyKeyReused,
            ],
        );
    }
}
