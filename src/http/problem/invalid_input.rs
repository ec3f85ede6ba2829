//! One invalid part of a request: where it is and what is wrong with it.

use std::fmt;

use schemars::JsonSchema;
use serde::Serialize;

/// One invalid part of the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub(crate) struct InvalidInput {
    /// The place in the body: a JSON pointer (RFC 6901); `""` is the whole body.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("examples" = ["/latitude"]))]
    pointer: Option<String>,
    /// The name of the path parameter, query parameter or header.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "String", extend("examples" = ["limit"]))]
    parameter: Option<String>,
    /// What is wrong with it.
    #[schemars(extend("examples" = ["must be a whole number from 1 to 1000"]))]
    detail: String,
}

impl InvalidInput {
    /// An invalid parameter of the path, the query or the headers.
    pub(crate) fn parameter(name: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: None,
            parameter: Some(name.into()),
            detail: detail.into(),
        }
    }

    /// An invalid part of the body, at this JSON pointer.
    pub(crate) fn body(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            pointer: Some(pointer.into()),
            parameter: None,
            detail: detail.into(),
        }
    }

    /// Whether this is about the part of the body at `pointer`.
    pub(crate) fn is_about(&self, pointer: &str) -> bool {
        self.pointer.as_deref() == Some(pointer)
    }
}

impl fmt::Display for InvalidInput {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.parameter, self.pointer.as_deref()) {
            (Some(parameter), _) => write!(f, "Parameter {parameter}: {}.", self.detail),
            (None, None | Some("")) => write!(f, "The body {}.", self.detail),
            (None, Some(pointer)) => write!(f, "Body field {pointer}: {}.", self.detail),
        }
    }
}
