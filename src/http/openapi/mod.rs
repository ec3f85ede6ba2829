//! The parts of the `OpenAPI` document that aide does not derive from types.

mod base;
mod content;
mod operation;
mod parameters;
mod problems;
mod tag;

pub(crate) use base::{KEY, base_document, to_json};
pub(crate) use content::{header, json_content, json_response, location_header, media, response};
pub(crate) use operation::{NeededKey, OperationDocs};
pub(crate) use parameters::{header_parameter, path_parameter, query_parameter};
pub(crate) use problems::document_problems;
pub(crate) use tag::ApiTag;
