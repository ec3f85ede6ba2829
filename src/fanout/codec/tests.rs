use std::time::Duration;

use proptest::{collection::vec, option, prelude::*};
use serde_json::json;
use strum::VariantArray;

use super::*;
use crate::{
    domain::{
        Broadcast, Command, CommandOrigin, CommandOutcome, CommandState, DisconnectReason,
        ReportInterval, Timestamp,
    },
    fanout::message::{EndedSessions, RemoteCommand},
};

const CORRELATION: Uuid = Uuid::from_u128(0xc);

fn origin() -> IncarnationId {
    Uuid::from_u128(0xa).into()
}

fn device() -> DeviceId {
    DeviceId::parse("truck-19").unwrap()
}

fn remote_command() -> RemoteCommand {
    RemoteCommand {
        id: Uuid::from_u128(1),
        device_id: device(),
        action: Action::Run,
        timeout: Duration::from_millis(9_500),
        expires_at: Timestamp::from_millis(1_795_402_499_050),
        queue: None,
        key: None,
        vehicle_since: None,
    }
}

fn ended() -> Command {
    Command {
        id: Uuid::from_u128(1),
        device_id: device(),
        action: Action::Rest,
        origin: CommandOrigin::Channel,
        state: CommandState::NoAnswer,
        created_at: Timestamp::from_millis(1),
        expires_at: Timestamp::from_millis(2),
        sent_at: Some(Timestamp::from_millis(3)),
        finished_at: None,
        reply: None,
        late_reply: None,
    }
}

#[track_caller]
fn assert_text(text: &str, expected: &str) {
    // The expected text is one line, wrapped here.
    assert_eq!(text, expected.replace("\n        ", ""));
}

#[test]
fn requests_have_this_form() {
    let command = PeerRequest::Command(remote_command());
    assert_text(
        &encode_request(origin(), CORRELATION, &command),
        r#"{"version":1,"kind":"request","origin":"00000000-0000-0000-0000-00000000000a",
        "correlation":"00000000-0000-0000-0000-00000000000c","type":"command",
        "id":"00000000-0000-0000-0000-000000000001","deviceId":"truck-19","message":"HEY YOU, RUN!",
        "timeoutMillis":9500,"expiresAt":1795402499050}"#,
    );
    let command = PeerRequest::Command(RemoteCommand {
        queue: Some(Duration::from_mins(1)),
        key: Some("k".to_owned()),
        vehicle_since: Some(Timestamp::from_millis(7)),
        ..remote_command()
    });
    let text = encode_request(origin(), CORRELATION, &command);
    assert!(
        text.ends_with(r#","queueMillis":60000,"key":"k","vehicleSince":7}"#),
        "{text}"
    );
    let broadcast = PeerRequest::Broadcast {
        action: Action::AskState,
        timeout: Duration::from_secs(10),
    };
    assert_text(
        &encode_request(origin(), CORRELATION, &broadcast),
        r#"{"version":1,"kind":"request","origin":"00000000-0000-0000-0000-00000000000a",
        "correlation":"00000000-0000-0000-0000-00000000000c","type":"broadcast",
        "message":"HOW'S IT GOING?","timeoutMillis":10000}"#,
    );
}

#[test]
fn answers_have_this_form() {
    let outcome = |outcome| encode_answer(origin(), CORRELATION, &PeerAnswer::Command(outcome));
    assert_text(
        &outcome(CommandOutcome::Recorded { command: ended() }),
        r#"{"version":1,"kind":"answer","origin":"00000000-0000-0000-0000-00000000000a",
        "correlation":"00000000-0000-0000-0000-00000000000c","type":"command-outcome",
        "outcome":"ended","command":{"id":"00000000-0000-0000-0000-000000000001",
        "deviceId":"truck-19","message":"HEY YOU, REST!","origin":"channel","state":"no-answer",
        "createdAt":1,"expiresAt":2,"sentAt":3}}"#,
    );
    let minute = ReportInterval::new(60).unwrap();
    for (remote, end) in [
        (
            CommandOutcome::Desired { interval: minute },
            r#""desired","seconds":60}"#,
        ),
        (CommandOutcome::UnknownVehicle, r#""unknown-vehicle"}"#),
        (CommandOutcome::Offline, r#""offline"}"#),
        (CommandOutcome::TooMany, r#""too-many"}"#),
        (CommandOutcome::KeyReused, r#""key-reused"}"#),
        (CommandOutcome::StoreUnavailable, r#""store-unavailable"}"#),
        (CommandOutcome::Moved, r#""moved"}"#),
        // Earlier versions do not know these.
        (CommandOutcome::FanOutUnavailable, r#""moved"}"#),
        (CommandOutcome::OwnerUnreachable, r#""moved"}"#),
        (CommandOutcome::StoreFailed, r#""store-unavailable"}"#),
    ] {
        let text = outcome(remote);
        let end = format!(r#","type":"command-outcome","outcome":{end}"#);
        assert!(text.ends_with(&end), "{text}");
    }
    let counts = Broadcast {
        addressed: 15,
        done: 1,
        refused: 2,
        silent: 3,
        disconnected: 4,
        unsent: 5,
        unreachable_instances: 6,
    };
    let text = encode_answer(origin(), CORRELATION, &PeerAnswer::Broadcast(counts));
    let end = r#","type":"broadcast-outcome","addressed":15,"done":1,"refused":2,"silent":3,"disconnected":4,"unsent":5,"unreachableInstances":6}"#;
    assert!(text.ends_with(end), "{text}");
    assert_text(
        &encode_unsupported(origin(), CORRELATION),
        r#"{"version":1,"kind":"answer","origin":"00000000-0000-0000-0000-00000000000a",
        "correlation":"00000000-0000-0000-0000-00000000000c","type":"unsupported"}"#,
    );
}

#[test]
fn notices_and_probes_have_this_form() {
    let ended = EndedSessions {
        device_id: device(),
        through_epoch: 7,
        reason: DisconnectReason::Superseded,
    };
    assert_text(
        &encode_notice(origin(), &Notice::SessionsEnded(vec![ended])),
        r#"{"version":1,"kind":"notice","origin":"00000000-0000-0000-0000-00000000000a",
        "type":"sessions-over","sessions":[{"deviceId":"truck-19","throughEpoch":7,
        "reason":"superseded"}]}"#,
    );
    assert_text(
        &encode_probe(origin()),
        r#"{"version":1,"kind":"probe","origin":"00000000-0000-0000-0000-00000000000a",
        "type":"probe"}"#,
    );
    let read = decode(encode_probe(origin()).as_bytes()).unwrap();
    assert_eq!((read.origin, read.message), (origin(), PeerMessage::Probe));
}

#[test]
fn unknown_fields_are_ignored() {
    let later = json!({
        "version": 1, "kind": "answer", "type": "command-outcome", "origin": origin(),
        "correlation": CORRELATION, "shard": 3, "outcome": "ended",
        "command": {
            "id": Uuid::from_u128(1), "deviceId": "truck-19", "message": "HEY YOU, REST!",
            "origin": "channel", "state": "no-answer", "createdAt": 1, "expiresAt": 2, "sentAt": 3,
            "finishedAt": null, "by": "somebody",
        },
    });
    let read = decode(later.to_string().as_bytes()).unwrap();
    let reply = PeerReply::Answer(PeerAnswer::Command(CommandOutcome::Recorded {
        command: ended(),
    }));
    let message = PeerMessage::Answer {
        correlation: CORRELATION,
        reply,
    };
    assert_eq!(read.message, message);
}

#[test]
fn undecodable_messages_say_how_to_react() {
    let reply_to = ReplyAddress {
        origin: origin(),
        correlation: CORRELATION,
    };
    let (refusal, resolution) = (
        CodecReaction::AnswerUnsupported(reply_to),
        CodecReaction::EndRequest(CORRELATION),
    );
    let cases = [
        (
            2,
            "request",
            "command",
            DecodeFault::LaterVersion,
            Some(refusal),
        ),
        (1, "request", "fly", DecodeFault::UnknownType, Some(refusal)),
        (
            1,
            "request",
            "command",
            DecodeFault::BrokenBody,
            Some(refusal),
        ),
        (
            1,
            "request",
            "unsupported",
            DecodeFault::BrokenBody,
            Some(refusal),
        ),
        (
            1,
            "answer",
            "command",
            DecodeFault::BrokenBody,
            Some(resolution),
        ),
        (
            1,
            "answer",
            "perhaps",
            DecodeFault::UnknownType,
            Some(resolution),
        ),
        (
            3,
            "answer",
            "perhaps",
            DecodeFault::LaterVersion,
            Some(resolution),
        ),
        (1, "notice", "sessions-over", DecodeFault::BrokenBody, None),
        (1, "notice", "news", DecodeFault::UnknownType, None),
        (1, "rumour", "news", DecodeFault::NoEnvelope, None),
    ];
    for (version, kind, type_, fault, reaction) in cases {
        let text = json!({
            "version": version, "kind": kind, "type": type_, "origin": origin(),
            "correlation": CORRELATION,
        });
        let wrong = decode(text.to_string().as_bytes()).unwrap_err();
        assert_eq!((wrong.fault, wrong.reaction), (fault, reaction), "{text}");
        assert_eq!(wrong.origin, Some(origin()));
    }
    // Without an address or a correlation no answer is possible.
    for missing in ["origin", "correlation"] {
        let mut text = json!({
            "version": 1, "kind": "request", "type": "fly", "origin": origin(),
            "correlation": CORRELATION,
        });
        text.as_object_mut().unwrap().remove(missing);
        assert_eq!(
            decode(text.to_string().as_bytes()).unwrap_err().reaction,
            None
        );
    }
}

#[test]
fn an_overlong_timeout_is_read_as_one_that_clocks_hold() {
    let text = encode_request(
        origin(),
        CORRELATION,
        &PeerRequest::Command(remote_command()),
    );
    let text = text.replace("9500", &u64::MAX.to_string());
    let PeerMessage::Request {
        request: PeerRequest::Command(command),
        ..
    } = decode(text.as_bytes()).unwrap().message
    else {
        panic!("{text}")
    };
    assert!(
        std::time::Instant::now()
            .checked_add(command.timeout)
            .is_some()
    );
    assert!(command.timeout > Duration::from_hours(24 * 365));
}

#[test]
fn messages_above_their_limit_are_dropped_unparsed() {
    let padded = |text: &str, bytes: usize| {
        let mut padded = text.as_bytes().to_vec();
        padded.resize(bytes, b' ');
        padded
    };
    let command = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
    let right = decode_channel_command(&padded(command, MAX_CHANNEL_MESSAGE));
    assert_eq!(right, Ok(Some((device(), Action::Run))));
    assert_eq!(
        decode_channel_command(&padded(command, MAX_CHANNEL_MESSAGE + 1)),
        Err("has 65537 bytes, at most 65536 are read".to_owned())
    );
    let probe = encode_probe(origin());
    assert!(decode(&padded(&probe, MAX_PEER_MESSAGE)).is_ok());
    let refused = decode(&padded(&probe, MAX_PEER_MESSAGE + 1)).unwrap_err();
    assert_eq!(
        (refused.fault, refused.origin),
        (DecodeFault::TooLarge, None)
    );
}

#[test]
fn the_largest_notice_is_below_the_limit() {
    let session = EndedSessions {
        device_id: DeviceId::parse(&"x".repeat(64)).unwrap(),
        through_epoch: i64::MIN,
        reason: DisconnectReason::StoreUnavailable,
    };
    let notice = Notice::SessionsEnded(vec![session; Notice::MOST_SESSIONS]);
    let bytes = encode_notice(origin(), &notice).len();
    assert!(bytes < MAX_PEER_MESSAGE, "{bytes}");
}

#[test]
fn channel_commands_have_no_envelope() {
    let decoded = |text: &str| decode_channel_command(text.as_bytes());
    let right = r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"truck-19"}"#;
    assert_eq!(decoded(right), Ok(Some((device(), Action::Run))));
    // A message between instances of a later version, perhaps.
    assert_eq!(decoded(r#"{"version":1,"kind":"notice"}"#), Ok(None));
    for (wrong, reason) in [
        ("HEY YOU, RUN!", "expected value at line 1 column 1"),
        ("[]", "must be a JSON object"),
        (r#"{"type":"command"}"#, "missing field `message`"),
        (
            r#"{"type":"go","message":"HEY YOU, RUN!","clientId":"truck-19"}"#,
            "type must be command",
        ),
        (
            r#"{"type":"command","message":"HEY YOU, RUN!","clientId":".."}"#,
            "clientId: a device id is 1 to 64 characters",
        ),
        (
            r#"{"type":"command","message":"PONG.","clientId":"truck-19"}"#,
            "message: must be one of 'HOW'S IT GOING?'",
        ),
    ] {
        let error = decoded(wrong).unwrap_err();
        assert!(error.starts_with(reason), "{error}");
    }
}

prop_compose! {
    fn any_device()(text in "[A-Za-z0-9._:-]{3,64}") -> DeviceId {
        DeviceId::parse(&text).unwrap()
    }
}

fn any_interval() -> impl Strategy<Value = ReportInterval> {
    prop_oneof![Just(0), 10..=3600_u64].prop_map(|seconds| ReportInterval::new(seconds).unwrap())
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        Just(Action::AskState),
        any_interval().prop_map(Action::KeepMePosted),
        Just(Action::Run),
        Just(Action::Rest),
        Just(Action::Goodbye),
    ]
}

fn any_uuid() -> impl Strategy<Value = Uuid> {
    any::<u128>().prop_map(Uuid::from_u128)
}

fn any_time() -> impl Strategy<Value = Duration> {
    (0..LONGEST_TESTED).prop_map(Duration::from_millis)
}

/// A year in milliseconds.
const LONGEST_TESTED: u64 = 365 * 24 * 3_600_000;

fn any_timestamp() -> impl Strategy<Value = Timestamp> {
    any::<i64>().prop_map(Timestamp::from_millis)
}

prop_compose! {
    fn any_remote_command()(
        id in any_uuid(),
        device_id in any_device(),
        action in any_action(),
        timeout in any_time(),
        expires_at in any_timestamp(),
        queue in option::of(any_time()),
        key in option::of(any::<String>()),
        vehicle_since in option::of(any_timestamp()),
    ) -> RemoteCommand {
        RemoteCommand { id, device_id, action, timeout, expires_at, queue, key, vehicle_since }
    }
}

prop_compose! {
    fn any_command()(
        (id, device_id, action) in (any_uuid(), any_device(), any_action()),
        origin in proptest::sample::select(CommandOrigin::VARIANTS),
        state in proptest::sample::select(CommandState::VARIANTS),
        (created_at, expires_at) in (any_timestamp(), any_timestamp()),
        (sent_at, finished_at) in (option::of(any_timestamp()), option::of(any_timestamp())),
        (reply, late_reply) in (option::of(any::<String>()), option::of(any::<String>())),
    ) -> Command {
        Command {
            id, device_id, action, origin, state, created_at, expires_at, sent_at, finished_at,
            reply, late_reply,
        }
    }
}

fn any_request() -> impl Strategy<Value = PeerRequest> {
    prop_oneof![
        any_remote_command().prop_map(PeerRequest::Command),
        (any_action(), any_time())
            .prop_map(|(action, timeout)| PeerRequest::Broadcast { action, timeout }),
    ]
}

fn any_answer() -> impl Strategy<Value = PeerAnswer> {
    prop_oneof![
        any_command().prop_map(|command| PeerAnswer::Command(CommandOutcome::Recorded { command })),
        any_interval()
            .prop_map(|interval| PeerAnswer::Command(CommandOutcome::Desired { interval })),
        proptest::sample::select(vec![
            CommandOutcome::UnknownVehicle,
            CommandOutcome::Offline,
            CommandOutcome::TooMany,
            CommandOutcome::KeyReused,
            CommandOutcome::StoreUnavailable,
            CommandOutcome::Moved,
        ])
        .prop_map(PeerAnswer::Command),
        any::<[u64; 7]>().prop_map(|counts| PeerAnswer::Broadcast(Broadcast {
            addressed: counts[0],
            done: counts[1],
            refused: counts[2],
            silent: counts[3],
            disconnected: counts[4],
            unsent: counts[5],
            unreachable_instances: counts[6],
        })),
    ]
}

prop_compose! {
    fn any_ended_sessions()(
        device_id in any_device(),
        through_epoch in any::<i64>(),
        reason in proptest::sample::select(DisconnectReason::VARIANTS),
    ) -> EndedSessions {
        EndedSessions { device_id, through_epoch, reason }
    }
}

proptest! {
    #[test]
    fn encoded_messages_decode_to_themselves(
        (origin, correlation) in (any_uuid().prop_map(IncarnationId::from), any_uuid()),
        asked in any_request(),
        answered in any_answer(),
        ended in vec(any_ended_sessions(), 0..5),
    ) {
        let read = decode(encode_request(origin, correlation, &asked).as_bytes()).unwrap();
        prop_assert_eq!(read.origin, origin);
        prop_assert_eq!(read.message, PeerMessage::Request { correlation, request: asked });
        let read = decode(encode_answer(origin, correlation, &answered).as_bytes()).unwrap();
        let reply = PeerReply::Answer(answered);
        prop_assert_eq!(read.message, PeerMessage::Answer { correlation, reply });
        let notice = Notice::SessionsEnded(ended);
        let read = decode(encode_notice(origin, &notice).as_bytes()).unwrap();
        prop_assert_eq!(read.message, PeerMessage::Notice(notice));
        let read = decode(encode_unsupported(origin, correlation).as_bytes()).unwrap();
        prop_assert_eq!(read.message, PeerMessage::Answer { correlation, reply: PeerReply::Unsupported });
    }

    #[test]
    fn arbitrary_bytes_are_refused(message in vec(any::<u8>(), 0..200)) {
        prop_assert!(decode(&message).is_err());
        prop_assert!(decode_channel_command(&message).is_err());
    }
}
