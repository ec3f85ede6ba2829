//! What callers say when they ask something of a vehicle: the bodies and the query, and the rules of the
//! options that all of them share.

use std::time::Duration;

use garde::Validate;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    domain::{Action, InvalidAction, OutOfRange, ReportInterval},
    http::{
        body::{optional_whole_number, whole_number},
        describe::Example,
        extract::{FromQuery, QueryFields, QueryParameter},
        kind::Kind,
        problem::{InvalidInput, Problem},
    },
};

/// The longest that a caller may wait for a vehicle.
pub(in crate::http) const MAX_TIMEOUT: Duration = Duration::from_secs(MAX_TIMEOUT_SECONDS as u64);
const MAX_TIMEOUT_SECONDS: u16 = 60;
/// The longest that a command may wait for its vehicle, in seconds: a day.
const MAX_TTL_SECONDS: i64 = 86_400;

/// How a command is to be sent, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Options {
    /// How long to wait for the vehicle's answer, unless that is left to the gateway.
    pub(super) timeout: Option<Duration>,
    /// How long to keep the command for a vehicle that is offline, if at all.
    pub(super) queue: Option<Duration>,
}

/// Makes a body of its own fields and the options of every command. It is no flattened struct, for then
/// serde could not refuse unknown fields.
macro_rules! command_body {
    ($(#[$meta:meta])* $name:ident { $($(#[$field_meta:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Deserialize, JsonSchema, Validate)]
        #[serde(rename_all = "camelCase", deny_unknown_fields)]
        #[schemars(transform = ttl_belongs_to_queue)]
        pub(super) struct $name {
            $($(#[$field_meta])* $field: $type,)*
            /// How many seconds to wait for the vehicle's answer. Without it the gateway decides.
            #[garde(range(min = 1, max = i64::from(MAX_TIMEOUT_SECONDS)))]
            #[serde(default, deserialize_with = "optional_whole_number", skip_serializing_if = "Option::is_none")]
            #[schemars(with = "i64")]
            timeout_seconds: Option<i64>,
            /// Whether to keep the command for the next login if the vehicle is offline.
            #[garde(skip)]
            #[serde(default)]
            queue: bool,
            /// How many seconds to keep it at most. Goes with `queue: true`, and only with it.
            #[garde(range(min = 1, max = MAX_TTL_SECONDS), custom(belongs_to_queue(self.queue)))]
            #[serde(default, deserialize_with = "optional_whole_number", skip_serializing_if = "Option::is_none")]
            #[schemars(with = "i64")]
            ttl_seconds: Option<i64>,
        }

        impl $name {
            pub(super) fn options(&self) -> Options {
                Options {
                    timeout: self.timeout_seconds.map(seconds),
                    queue: self.ttl_seconds.filter(|_| self.queue).map(seconds),
                }
            }
        }
    };
}

command_body! {
    /// How to send a command.
    #[derive(Default)]
    CommandOptions {}
}

command_body! {
    /// Whether to turn the vehicle on or off.
    TurnOnOrOff {
        /// Whether the vehicle is to run.
        #[garde(skip)]
        running: bool,
    }
}

command_body! {
    /// How often the vehicle is to report.
    Frequency {
        /// The seconds between two reports: 10 to 3600, or 0 for no reports.
        #[garde(custom(check_interval))]
        #[serde(deserialize_with = "whole_number")]
        #[schemars(schema_with = "interval")]
        seconds: i64,
    }
}

command_body! {
    /// What to say to the vehicle.
    CommandMessage {
        /// The sentence, exactly as it travels.
        #[garde(custom(check_message))]
        #[schemars(schema_with = "message")]
        message: String,
    }
}

/// What to say to all vehicles.
#[derive(Debug, Deserialize, JsonSchema, Validate)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct BroadcastMessage {
    /// The sentence, exactly as it travels.
    #[garde(custom(check_message))]
    #[schemars(schema_with = "message")]
    message: String,
    /// How many seconds to wait for the vehicles' answers. Without it the gateway decides.
    #[garde(range(min = 1, max = i64::from(MAX_TIMEOUT_SECONDS)))]
    #[serde(
        default,
        deserialize_with = "optional_whole_number",
        skip_serializing_if = "Option::is_none"
    )]
    #[schemars(with = "i64")]
    timeout_seconds: Option<i64>,
}

/// How to ask a vehicle for its state.
#[derive(Debug)]
pub(super) struct FetchQuery {
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

impl Frequency {
    pub(super) fn action(&self) -> Result<Action, Problem> {
        match parse_interval(self.seconds) {
            Ok(interval) => Ok(Action::KeepMePosted(interval)),
            Err(error) => Err(invalid_body("/seconds", interval_message(error))),
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

impl FromQuery for FetchQuery {
    fn parameters() -> Vec<QueryParameter> {
        vec![QueryParameter {
            name: "timeoutSeconds",
            description: "How many seconds to wait for the vehicle's answer. Without it the gateway decides.",
            schema: json_schema!({ "type": "integer", "minimum": 1, "maximum": MAX_TIMEOUT_SECONDS }),
        }]
    }

    fn from_query(fields: &mut QueryFields) -> Self {
        let timeout = fields.take_whole_number(
            "timeoutSeconds",
            1..=MAX_TIMEOUT_SECONDS,
            "must be a whole number from 1 to 60",
        );
        Self {
            timeout: timeout.map(|timeout| Duration::from_secs(timeout.into())),
        }
    }
}

/// A number of seconds that was found to be in its range, which has no negative ones.
fn seconds(seconds: i64) -> Duration {
    Duration::from_secs(seconds.unsigned_abs())
}

/// A command is either queued for some time, or not queued: nothing is kept for ever, and a time without
/// `queue` is a mistake.
fn belongs_to_queue(queue: bool) -> impl FnOnce(&Option<i64>, &()) -> garde::Result {
    move |ttl_seconds, ()| match (queue, ttl_seconds) {
        (true, None) => Err(garde::Error::new(
            "is missing: a command that may be queued needs it",
        )),
        (false, Some(_)) => Err(garde::Error::new("goes only with queue: true")),
        _ => Ok(()),
    }
}

/// [`belongs_to_queue`] for the document.
fn ttl_belongs_to_queue(schema: &mut Schema) {
    let either = json!([
        { "properties": { "queue": { "const": true } }, "required": ["queue", "ttlSeconds"] },
        { "properties": { "queue": { "const": false } }, "not": { "required": ["ttlSeconds"] } },
    ]);
    schema.insert("anyOf".to_owned(), either);
}

fn parse_interval(seconds: i64) -> Result<ReportInterval, OutOfRange> {
    // What is negative is as much out of range as what is too large.
    ReportInterval::new(seconds.try_into().unwrap_or(u64::MAX))
}

fn interval_message(error: OutOfRange) -> String {
    format!("must be {}", error.allowed)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape garde asks for"
)]
fn check_interval(seconds: &i64, (): &()) -> garde::Result {
    parse_interval(*seconds)
        .map(drop)
        .map_err(|error| garde::Error::new(interval_message(error)))
}

fn interval(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "integer",
        "anyOf": [{ "const": 0 }, { "minimum": 10, "maximum": 3600 }],
        "examples": [60],
    })
}

fn parse_message(message: &str) -> Result<Action, Problem> {
    message
        .parse()
        .map_err(|error: InvalidAction| invalid_body("/message", error.to_string()))
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the shape garde asks for"
)]
fn check_message(message: &str, (): &()) -> garde::Result {
    message
        .parse::<Action>()
        .map(drop)
        .map_err(garde::Error::new)
}

/// Exactly what [`Action`] reads: the interval in up to twenty digits, with or without leading zeros.
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

fn invalid_body(pointer: &str, detail: String) -> Problem {
    Problem::invalid(Kind::InvalidBody, vec![InvalidInput::body(pointer, detail)])
}

impl Example for CommandOptions {
    fn example() -> Value {
        json!({ "timeoutSeconds": 15, "queue": true, "ttlSeconds": 3600 })
    }
}

impl Example for TurnOnOrOff {
    fn example() -> Value {
        json!({ "running": true, "timeoutSeconds": 15 })
    }
}

impl Example for Frequency {
    fn example() -> Value {
        json!({ "seconds": 60 })
    }
}

impl Example for CommandMessage {
    fn example() -> Value {
        json!({ "message": "HEY YOU, RUN!", "queue": true, "ttlSeconds": 3600 })
    }
}

impl Example for BroadcastMessage {
    fn example() -> Value {
        json!({ "message": "KEEP ME POSTED EVERY 60 SECONDS.", "timeoutSeconds": 30 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde::de::DeserializeOwned;

    fn read<T: DeserializeOwned + Validate<Context = ()>>(body: Value) -> T {
        let body: T = serde_json::from_value(body).unwrap();
        body.validate().unwrap();
        body
    }

    #[test]
    fn options_are_durations_and_nothing_is_queued_unless_it_is_asked_for() {
        let none = Options {
            timeout: None,
            queue: None,
        };
        assert_eq!(CommandOptions::default().options(), none);
        for (body, options) in [
            (json!({}), none),
            (json!({ "queue": false }), none),
            (
                json!({ "timeoutSeconds": 60.0 }),
                Options {
                    timeout: Some(MAX_TIMEOUT),
                    ..none
                },
            ),
            (
                json!({ "timeoutSeconds": 1, "queue": true, "ttlSeconds": 86400 }),
                Options {
                    timeout: Some(Duration::from_secs(1)),
                    queue: Some(Duration::from_hours(24)),
                },
            ),
        ] {
            assert_eq!(
                read::<CommandOptions>(body.clone()).options(),
                options,
                "{body}"
            );
        }
    }

    #[test]
    fn bodies_name_their_action() {
        let run: TurnOnOrOff = read(json!({ "running": true }));
        assert_eq!(run.action(), Action::Run);
        let rest: TurnOnOrOff = read(json!({ "running": false }));
        assert_eq!(rest.action(), Action::Rest);
        let never: Frequency = read(json!({ "seconds": 0 }));
        let every_minute: Frequency = read(json!({ "seconds": 60.0 }));
        let interval = |seconds| Action::KeepMePosted(ReportInterval::new(seconds).unwrap());
        assert_eq!(never.action().unwrap(), interval(0));
        assert_eq!(every_minute.action().unwrap(), interval(60));
        let goodbye: CommandMessage = read(json!({ "message": "GOTTA GO." }));
        assert_eq!(goodbye.action().unwrap(), Action::Goodbye);
        let all: BroadcastMessage =
            read(json!({ "message": "HOW'S IT GOING?", "timeoutSeconds": 2 }));
        assert_eq!(all.action().unwrap(), Action::AskState);
        assert_eq!(all.timeout(), Some(Duration::from_secs(2)));
    }

    fn documented_message() -> impl Strategy<Value = String> {
        // The generator knows no anchors.
        let pattern = MESSAGE_PATTERN
            .trim_start_matches('^')
            .trim_end_matches('$');
        proptest::string::string_regex(pattern).unwrap()
    }

    proptest! {
        #[test]
        fn every_message_that_the_document_shows_is_one(message in documented_message()) {
            prop_assert!(message.parse::<Action>().is_ok(), "{}", message);
        }
    }
}
