//! Parameters of the path, the query and the headers in the document.

use aide::openapi::{
    HeaderStyle, Parameter, ParameterData, ParameterSchemaOrContent, PathStyle, QueryStyle,
    SchemaObject,
};
use indexmap::IndexMap;
use schemars::Schema;

/// A required parameter of the path.
pub(crate) fn path_parameter(name: &str, description: &str, schema: Schema) -> Parameter {
    Parameter::Path {
        parameter_data: parameter(name, description, schema, true),
        style: PathStyle::Simple,
    }
}

/// An optional parameter of the query.
pub(crate) fn query_parameter(name: &str, description: &str, schema: Schema) -> Parameter {
    Parameter::Query {
        parameter_data: parameter(name, description, schema, false),
        allow_reserved: false,
        style: QueryStyle::Form,
        allow_empty_value: None,
    }
}

/// An optional request header.
pub(crate) fn header_parameter(name: &str, description: &str, schema: Schema) -> Parameter {
    Parameter::Header {
        parameter_data: parameter(name, description, schema, false),
        style: HeaderStyle::Simple,
    }
}

fn parameter(name: &str, description: &str, schema: Schema, required: bool) -> ParameterData {
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
