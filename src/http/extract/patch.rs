//! Fields of request bodies that may be absent.

use std::borrow::Cow;

use garde::rules::length::simple::Simple as ValidateLength;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Deserializer};

/// A field of a change. An absent field keeps the current value; null is an error unless `T` is an `Option`.
///
/// Fields of this type need `#[serde(default, skip_serializing_if = "Patch::is_keep")]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Patch<T> {
    /// The field is absent.
    #[default]
    Keep,
    /// The field is present.
    Set(T),
}

impl<T> Patch<T> {
    /// Whether the field is absent.
    pub(crate) fn is_keep(&self) -> bool {
        matches!(self, Self::Keep)
    }

    /// The value, if the field is present.
    pub(crate) fn into_option(self) -> Option<T> {
        match self {
            Self::Keep => None,
            Self::Set(value) => Some(value),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Patch<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::Set)
    }
}

/// The schema of `T`.
impl<T: JsonSchema> JsonSchema for Patch<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

impl<T: ValidateLength> ValidateLength for Patch<T> {
    fn validate_length(&self, min: usize, max: usize) -> Result<(), garde::Error> {
        match self {
            Self::Keep => Ok(()),
            Self::Set(value) => value.validate_length(min, max),
        }
    }
}

/// Deserializes a field that may be absent, but not null unless null is one of its values.
pub(crate) fn not_null<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}
