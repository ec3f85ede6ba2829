//! Merged values as text, for parsing and for problems.

use figment::value::Value;

use super::units::mask;

/// The value as text; none for a list, a table or nothing.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(_, text) => Some(text.clone()),
        Value::Char(_, character) => Some(character.to_string()),
        Value::Bool(_, truth) => Some(truth.to_string()),
        Value::Num(_, number) => number
            .to_u128()
            .map(|number| number.to_string())
            .or_else(|| number.to_i128().map(|number| number.to_string()))
            // Debug keeps the dot of 3.0: that is not a whole number.
            .or_else(|| number.to_f64().map(|number| format!("{number:?}"))),
        Value::Empty(..) | Value::Dict(..) | Value::Array(..) => None,
    }
}

/// The value as problems show it: text quoted and on one line, secrets masked.
pub(super) fn describe(value: &Value) -> String {
    match value {
        Value::String(_, text) => format!("{:?}", mask(text)),
        Value::Empty(..) => "nothing".to_owned(),
        Value::Dict(..) => "a table or a date".to_owned(),
        Value::Array(_, items) if items.is_empty() => "an empty list".to_owned(),
        Value::Array(..) => "a list".to_owned(),
        value => scalar(value).unwrap_or_default(),
    }
}
