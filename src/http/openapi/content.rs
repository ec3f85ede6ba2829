//! Bodies and headers of responses in the document.

use aide::{
    generate::GenContext,
    openapi::{
        Header, HeaderStyle, MediaType, ParameterSchemaOrContent, Response as ResponseDoc,
        SchemaObject,
    },
};
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, json_schema};

use crate::{api_model::Example, http::media_type::JSON};

/// Content with this schema and no example.
pub(crate) fn media(schema: Schema) -> MediaType {
    MediaType {
        schema: Some(SchemaObject {
            json_schema: schema,
            external_docs: None,
            example: None,
        }),
        ..MediaType::default()
    }
}

/// A response of one media type.
pub(crate) fn response(description: &str, media_type: &str, content: MediaType) -> ResponseDoc {
    ResponseDoc {
        description: description.to_owned(),
        content: IndexMap::from_iter([(media_type.to_owned(), content)]),
        ..ResponseDoc::default()
    }
}

/// A JSON response with its example.
pub(crate) fn json_response<T: JsonSchema + Example>(
    ctx: &mut GenContext,
    description: &str,
) -> ResponseDoc {
    response(description, JSON, json_content::<T>(ctx))
}

/// JSON content with its example.
pub(crate) fn json_content<T: JsonSchema + Example>(ctx: &mut GenContext) -> MediaType {
    MediaType {
        example: Some(T::example()),
        ..media(ctx.schema.subschema_for::<T>())
    }
}

/// A header that the response always has.
pub(crate) fn header(description: &str, schema: Schema) -> Header {
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

/// The header `Location`: its name and its documentation.
pub(crate) fn location_header(description: &str) -> (String, Header) {
    let schema = json_schema!({ "type": "string", "format": "uri-reference" });
    ("Location".to_owned(), header(description, schema))
}
