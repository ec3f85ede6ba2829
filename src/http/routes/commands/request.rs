//! The request bodies and the query of commands, with the delivery options that all bodies share.

use std::time::Duration;

use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    api_model::Example,
    domain::{Action, InvalidAction, OutOfRange, ReportInterval},
    http::{
        extract::{FromQuery, QueryFields, QueryParameter, optional_whole_number, whole_number},
        options::MAX_COMMAND_TIMEOUT_SECONDS,
        problem::Problem,
    },
};

/// The longest time that a command may be queued for an offline vehicle, in seconds: a day.
const MAX_TTL_SECONDS: i64 = 86_400;

/// The validated options of a command's delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DeliveryOptions {
    /// The time that the vehicle gets to reply; the gateway's default if `None`.
    pub(super) timeout: Option<Duration>,
    /// The time that the command is queued for an offline vehicle; it is not queued if `None`.
    pub(super) queue: Option<Duration>,
}

/// Defines a body with fields of its own and the delivery options. With a flattened struct instead, serde could not reject
/// unknown fields.
macro_rules! command_body {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        #[derive(Debug, Deserialize, JsonSchema, Validate)]
        $(#[$meta])*
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[schemars(transform = ttl_belongs_to_queue)]
        pub(super) struct $name {
            $($(#[$field_meta])* $field: $type,)*
            /// The number of seconds to wait for the vehicle's reply. The default is a setting of the gateway.
            #[garde(range(min = 1, max = i64::from(MAX_COMMAND_TIMEOUT_SECONDS)))]
            #[serde(default, deserialize_with = "optional_whole_number", skip_serializing_if = "Option::is_none")]
            #[schemars(with = "i64")]
            timeout_seconds: Option<i64>,
            /// Whether to queue the command for the next login if the vehicle is offline.
            #[garde(skip)]
            #[serde(default)]
            queue: bool,
            /// The number of seconds that the command is queued at most. Required with `queue: true`, and only valid with it.
            #[garde(range(min = 1, max = MAX_TTL_SECONDS), custom(belongs_to_queue(self.queue)))]
            #[serde(default, deserialize_with = "optional_whole_number", skip_serializing_if = "Option::is_none")]
            #[schemars(with = "i64")]
            ttl_seconds: Option<i64>,
        }

        impl $name {
            pub(super) fn options(&self) -> DeliveryOptions {
                DeliveryOptions {
                    timeout: self.timeout_seconds.map(seconds),
                    queue: self.ttl_seconds.filter(|_| self.queue).map(seconds),
                }
            }
        }
    };
}

command_body! {
    /// The options of a command.
    #[derive(Default)]
    #[schemars(rename = "CommandOptions")]
    OptionsBody {}
}

command_body! {
    /// Whether to turn the vehicle on or off.
    TurnOnOrOff {
        /// Whether to turn the vehicle on.
        #[garde(skip)]
        running: bool,
    }
}

command_body! {
    /// The report interval to set.
    #[schemars(rename = "Frequency")]
    FrequencyRequest {
        /// The number of seconds between two reports: 10 to 3600, or 0 for no reports.
        #[garde(custom(check_interval))]
        #[serde(deserialize_with = "whole_number")]
        #[schemars(schema_with = "interval")]
        seconds: i64,
    }
}

command_body! {
    /// The sentence to send to the vehicle.
    CommandMessage {
        /// The sentence, exactly as it is sent.
        #[garde(custom(check_message))]
        #[schemars(schema_with = "message")]
        message: String,
    }
}

/// The sentence to send to all vehicles.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BroadcastMessage {
    /// The sentence, exactly as it is sent.
    #[garde(custom(check_message))]
    #[schemars(schema_with = "message")]
    message: String,
    /// The number of seconds to wait for the vehicles' replies. The default is a setting of the gateway.
    #[garde(range(min = 1, max = i64::from(MAX_COMMAND_TIMEOUT_SECONDS)))]
    #[serde(
        default,
        deserialize_with = "optional_whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "i64")]
    timeout_seconds: Option<i64>,
}

/// The query of a request for a vehicle's state.
#[derive(Debug)]
pub(super) struct FetchInfoQuery {
    pub(super) timeout: Option<Duration>,
}

impl TurnOnOrOff {
    pub(super) fn action(&self) -> Action {
        if self.running {
            Action::Run
        } else {
            Action::Rest
        }
    }
}

impl FrequencyRequest {
    pub(super) fn action(&self) -> Result<Action, Problem> {
        match parse_interval(self.seconds) {
            Ok(interval) => Ok(Action::KeepMePosted(interval)),
            Err(error) => Err(Problem::invalid_field("/seconds", interval_message(error))),
        }
    }
}

impl CommandMessage {
    pub(super) fn action(&self) -> Result<Action, Problem> {
        parse_message(&self.message)
    }
}

impl BroadcastMessage {
    pub(super) fn action(&self) -> Result<Action, Problem> {
        parse_message(&self.message)
    }

    pub(super) fn timeout(&self) -> Option<Duration> {
        self.timeout_seconds.map(seconds)
    }
}

impl FromQuery for FetchInfoQuery {
    fn parameters(_: &mut SchemaGenerator) -> Vec<QueryParameter> {
        vec![QueryParameter {
            name: "timeoutSeconds",
            description: "The number of seconds to wait for the vehicle's reply. The default is a setting of the gateway.",
            schema: json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_COMMAND_TIMEOUT_SECONDS }),
        }]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        let timeout = fields.take_whole_number(
            "timeoutSeconds",
            1..=MAX_COMMAND_TIMEOUT_SECONDS,
            "must be a whole number from 1 to 60",
        );
        Self {
            timeout: timeout.map(|timeout| Duration::from_secs(timeout.into())),
        }
    }
}

/// A number of seconds that was validated, so it is not negative.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// Validates that `ttlSeconds` comes with `queue: true` and only with it, so that no command is queued without limit.
fn belongs_to_queue(queue: bool) -> impl FnOnce(&Option<i64>, &()) -> garde::Result {
    move |ttl_seconds, ()| match (queue, ttl_seconds) {
        (true, None) => Err(garde::Error::new(
            "is missing: it is required with queue: true",
        )),
        (false, Some(_)) => Err(garde::Error::new("is only valid with queue: true")),
        _ => Ok(()),
    }
}

/// The schema of [`belongs_to_queue`].
fn ttl_belongs_to_queue(schema: &mut Schema) {
    // A condition only restricts values. Alternatives would be types of their own in generated clients.
    for (keyword, rule) in [
        (
            "if",
            json!({ "properties": { "queue": { "const": true } }, "required": ["queue"] }),
        ),
        ("then", json!({ "required": ["ttlSeconds"] })),
        ("else", json!({ "not": { "required": ["ttlSeconds"] } })),
    ] {
        schema.insert(keyword.to_owned(), rule);
    }
}

fn parse_interval(seconds: i64) -> Result<ReportInterval, OutOfRange> {
    // A negative number is out of range like one that is too large.
    ReportInterval::new(seconds.try_into().unwrap_or(u64::MAX))
}

fn interval_message(error: OutOfRange) -> String {
    format!("must be {}", error.allowed)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that garde requires"
)]
fn check_interval(seconds: &i64, (): &()) -> garde::Result {
    parse_interval(*seconds)
        .map(drop)
        .map_err(|error| garde::Error::new(interval_message(error)))
}

fn interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "minimum": 0,
        "maximum": 3600,
        "not": { "minimum": 1, "maximum": 9 },
        "examples": [60],
    })
}

fn parse_message(message: &str) -> Result<Action, Problem> {
    message
        .parse()
        .map_err(|error: InvalidAction| Problem::invalid_field("/message", error.to_string()))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that garde requires"
)]
fn check_message(message: &str, (): &()) -> garde::Result {
    message
        .parse::<Action>()
        .map(drop)
        .map_err(garde::Error::new)
}

/// Matches exactly what [`Action`] parses: the interval has up to twenty digits, with or without leading zeros.
const MESSAGE_PATTERN: &str = r"^(?:HOW'S IT GOING\?|HEY YOU, RUN!|HEY YOU, REST!|GOTTA GO\.|KEEP ME POSTED EVERY (?:0{1,20}|0{0,18}[1-9][0-9]|0{0,17}[1-9][0-9]{2}|0{0,16}[12][0-9]{3}|0{0,16}3[0-5][0-9]{2}|0{0,16}3600) SECONDS\.)$";

fn message(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "pattern": MESSAGE_PATTERN,
        "examples": [
            "HOW'S IT GOING?",
            "KEEP ME POSTED EVERY 60 SECONDS.",
            "HEY YOU, RUN!",
            "HEY YOU, REST!",
            "GOTTA GO.",
        ],
    })
}

// "Try it out" of `/docs` sends these as they are: no example of a body arms a command for later or changes a fleet.

impl Example for OptionsBody {
    fn example() -> Value {
        json!({})
    }
}

impl Example for TurnOnOrOff {
    fn example() -> Value {
        json!({ "running": true })
    }
}

impl Example for FrequencyRequest {
    fn example() -> Value {
        json!({ "seconds": 60 })
    }
}

impl Example for CommandMessage {
    fn example() -> Value {
        json!({ "message": "HOW'S IT GOING?" })
    }
}

impl Example for BroadcastMessage {
    fn example() -> Value {
        json!({ "message": "HOW'S IT GOING?" })
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
