//! The request bodies of keys.

use std::time::Duration;

use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};
use strum::VariantNames as _;

use crate::{
    access::Scope,
    api_model::{Example, Named},
    domain::Timestamp,
    http::paging::parse_timestamp,
    keys::KeyRequest,
};

/// The longest name, in characters.
const MAX_NAME: usize = 64;
/// Matches names without control characters and without white space at an end.
const NAME_PATTERN: &str = r"^[^\s\u0000-\u001f\u007f-\u009f]([^\u0000-\u001f\u007f-\u009f]{0,62}[^\s\u0000-\u001f\u007f-\u009f])?$";
/// The units of an overlap, and how many digits the number before each may have.
const OVERLAPS: [(char, usize); 4] = [('d', 2), ('h', 3), ('m', 5), ('s', 7)];
/// Matches exactly the overlaps that are accepted.
const OVERLAP_PATTERN: &str = "^([0-9]{1,2}d|[0-9]{1,3}h|[0-9]{1,5}m|[0-9]{1,7}s)$";
/// The time for which the secret before a rotation is accepted if the request does not say.
const DEFAULT_OVERLAP: Duration = Duration::from_hours(24);

/// The name of a scope in a request body.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct ScopeName(Scope);

impl TryFrom<String> for ScopeName {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        name.parse().map(Self).map_err(|_| {
            let known = Scope::VARIANTS.join(", ");
            format!("is not a scope; the scopes are {known}")
        })
    }
}

/// A time in a request body.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Time(Timestamp);

impl TryFrom<String> for Time {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        parse_timestamp(&text).map(Self)
    }
}

/// A duration in a request body.
#[derive(Debug, Deserialize)]
#[serde(try_from = "String")]
struct Overlap(Duration);

impl TryFrom<String> for Overlap {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let is_short = |(unit, digits): (char, usize)| {
            text.strip_suffix(unit).is_some_and(|number| {
                (1..=digits).contains(&number.len())
                    && number.bytes().all(|byte| byte.is_ascii_digit())
            })
        };
        let overlap = humantime::parse_duration(&text).ok();
        overlap
            .filter(|_| OVERLAPS.into_iter().any(is_short))
            .map(Self)
            .ok_or("must be a number of days, hours, minutes or seconds, such as 30d, 24h, 90m or 0s; at most 99d, 999h, 99999m or 9999999s")
    }
}

/// A key to create.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct NewKeyRequest {
    /// Its name, for people: 1 to 64 characters that can be printed, none of them a space at an end.
    #[garde(custom(check_name))]
    #[schemars(length(min = 1, max = MAX_NAME), regex(pattern = NAME_PATTERN))]
    name: String,
    /// What the key allows. Your own key must allow all of it.
    #[garde(length(min = 1))]
    #[schemars(schema_with = "scopes")]
    scopes: Vec<ScopeName>,
    /// From when on the key is refused; never if null or absent.
    #[garde(skip)]
    #[serde(default)]
    #[schemars(schema_with = "time")]
    expires_at: Option<Time>,
}

/// How to rotate a key.
#[derive(Debug, Default, Deserialize, JsonSchema, Validate)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RotationRequest {
    /// For how long the secret before is accepted as well, such as `24h`, `90m` or `0s`; by default `24h`.
    #[garde(skip)]
    #[schemars(schema_with = "overlap")]
    overlap: Option<Overlap>,
}

impl RotationRequest {
    pub(super) fn overlap(&self) -> Duration {
        self.overlap.as_ref().map_or(DEFAULT_OVERLAP, |it| it.0)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that garde requires"
)]
fn check_name(name: &str, _: &()) -> garde::Result {
    let is_printable = name.trim() == name && !name.chars().any(char::is_control);
    if is_printable && (1..=MAX_NAME).contains(&name.chars().count()) {
        Ok(())
    } else {
        Err(garde::Error::new(
            "must have 1 to 64 printable characters, without a space at an end",
        ))
    }
}

fn scopes(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "items": generator.subschema_for::<Named<Scope>>(), "minItems": 1 })
}

fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": ["string", "null"],
        "format": "date-time",
        "examples": ["2027-11-23T00:00:00Z"],
    })
}

fn overlap(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["string", "null"], "pattern": OVERLAP_PATTERN, "examples": ["24h"] })
}

impl From<NewKeyRequest> for KeyRequest {
    fn from(new: NewKeyRequest) -> Self {
        Self {
            name: new.name,
            scopes: new.scopes.into_iter().map(|it| it.0).collect(),
            expires_at: new.expires_at.map(|it| it.0),
        }
    }
}

impl Example for NewKeyRequest {
    fn example() -> Value {
        json!({ "name": "dispatch", "scopes": ["read", "command"], "expiresAt": "2036-11-23T00:00:00Z" })
    }
}

impl Example for RotationRequest {
    fn example() -> Value {
        json!({ "overlap": "24h" })
    }
}
