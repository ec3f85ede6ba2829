use super::*;
use crate::http::options::MAX_COMMAND_TIMEOUT;
use proptest::prelude::*;
use serde::de::DeserializeOwned;

fn read<T: DeserializeOwned + Validate<Context = ()>>(body: Value) -> T {
    let body: T = serde_json::from_value(body).unwrap();
    body.validate().unwrap();
    body
}

#[test]
fn a_command_is_queued_only_on_request() {
    let none = DeliveryOptions {
        timeout: None,
        queue: None,
    };
    assert_eq!(OptionsBody::default().options(), none);
    for (body, options) in [
        (json!({}), none),
        (json!({ "queue": false }), none),
        (
            json!({ "timeoutSeconds": 60.0 }),
            DeliveryOptions {
                timeout: Some(MAX_COMMAND_TIMEOUT),
                ..none
            },
        ),
        (
            json!({ "timeoutSeconds": 1, "queue": true, "ttlSeconds": 86400 }),
            DeliveryOptions {
                timeout: Some(Duration::from_secs(1)),
                queue: Some(Duration::from_hours(24)),
            },
        ),
    ] {
        assert_eq!(
            read::<OptionsBody>(body.clone()).options(),
            options,
            "{body}"
        );
    }
}

#[test]
fn every_body_has_its_action() {
    let run: TurnOnOrOff = read(json!({ "running": true }));
    assert_eq!(run.action(), Action::Run);
    let rest: TurnOnOrOff = read(json!({ "running": false }));
    assert_eq!(rest.action(), Action::Rest);
    let never: FrequencyRequest = read(json!({ "seconds": 0 }));
    let every_minute: FrequencyRequest = read(json!({ "seconds": 60.0 }));
    let interval = |seconds| Action::KeepMePosted(ReportInterval::new(seconds).unwrap());
    assert_eq!(never.action().unwrap(), interval(0));
    assert_eq!(every_minute.action().unwrap(), interval(60));
    let goodbye: CommandMessage = read(json!({ "message": "GOTTA GO." }));
    assert_eq!(goodbye.action().unwrap(), Action::Goodbye);
    let all: BroadcastMessage = read(json!({ "message": "HOW'S IT GOING?", "timeoutSeconds": 2 }));
    assert_eq!(all.action().unwrap(), Action::AskState);
    assert_eq!(all.timeout(), Some(Duration::from_secs(2)));
}

fn documented_message() -> impl Strategy<Value = String> {
    // The generator of proptest does not support anchors.
    let pattern = MESSAGE_PATTERN
        .trim_start_matches('^')
        .trim_end_matches('$');
    proptest::string::string_regex(pattern).unwrap()
}

proptest! {
    #[test]
    fn every_message_that_the_pattern_matches_is_valid(message in documented_message()) {
        prop_assert!(message.parse::<Action>().is_ok(), "{}", message);
    }
}
