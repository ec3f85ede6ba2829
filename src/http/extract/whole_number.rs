//! Whole numbers in request bodies.

use serde::{Deserialize, Deserializer, de::Error};
use serde_json::Number;

/// Deserializes a whole number as JSON Schema defines it: `80.0` is one. Numbers beyond 64 bits saturate.
pub(crate) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    let number = Number::deserialize(deserializer)?;
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

/// Deserializes a [`whole_number`] that may be absent, but not null.
pub(crate) fn optional_whole_number<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<i64>, D::Error> {
    whole_number(deserializer).map(Some)
}
