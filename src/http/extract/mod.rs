//! Extractors: the validated parts of a request.
//!
//! Each documents the parameters and the problems that it adds to an operation.

mod body_errors;
mod caller;
mod idempotency_key;
mod json_body;
mod patch;
mod path;
mod query;
mod whole_number;

pub(crate) use idempotency_key::IdempotencyKeyHeader;
pub(crate) use json_body::{JsonBody, OptionalJsonBody};
pub(crate) use patch::{Patch, not_null};
pub(crate) use path::{Path, PathParameter, parse_uuid, uuid_schema};
pub(crate) use query::{FromQuery, Query, QueryFields, QueryParameter};
pub(crate) use whole_number::{optional_whole_number, whole_number};
