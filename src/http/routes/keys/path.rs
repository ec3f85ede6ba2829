//! The id in the path of a key.

use schemars::{Schema, json_schema};

use super::dto::EXAMPLE_KEY_ID;
use crate::{
    access::KeyId,
    http::{extract::PathParameter, problem::ProblemKind},
};

impl PathParameter for KeyId {
    const NAME: &'static str = "keyId";
    const DESCRIPTION: &'static str =
        "The key's id: the part of the key between the first and the second `_`.";
    const UNKNOWN: &'static [ProblemKind] = &[ProblemKind::UnknownKey];

    fn schema() -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[A-Za-z0-9]{12}$",
            "examples": [EXAMPLE_KEY_ID],
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        Self::parse(text).ok_or_else(|| {
            "must be 12 letters and digits, as the list of keys shows it; not the key itself"
                .to_owned()
        })
    }
}
