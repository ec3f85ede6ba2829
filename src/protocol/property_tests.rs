//! Properties that hold for every input, however it is split.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index};
use uuid::Uuid;

use super::{BadReason, Decoded, Decoder, DeviceMessage, Dialect, Limits, encode_device};
use crate::domain::{
    Battery, DeviceId, DeviceSentence, Latitude, Longitude, ReportInterval, VehicleState,
};

/// Small, so that short inputs reach every cap.
const LIMITS: Limits = Limits {
    sentence: 160,
    blob: 40,
};

/// A result without its excerpt, which may depend on how the input was split.
#[derive(Debug, Clone, PartialEq)]
enum DecodedOutcome {
    Message(DeviceMessage),
    Bad(BadReason),
    TooLarge(BadReason),
}

fn feed(decoder: &mut Decoder, chunk: &[u8]) -> Vec<DecodedOutcome> {
    decoder.push(chunk);
    let mut outcomes = Vec::new();
    loop {
        outcomes.push(match decoder.next() {
            Decoded::Incomplete => return outcomes,
            Decoded::Message(message) => DecodedOutcome::Message(message),
            Decoded::Bad(bad) => DecodedOutcome::Bad(bad.reason),
            Decoded::TooLarge(bad) => DecodedOutcome::TooLarge(bad.reason),
        });
    }
}

fn decode(input: &[u8]) -> Vec<DecodedOutcome> {
    feed(&mut Decoder::new(LIMITS), input)
}

fn device_id() -> impl Strategy<Value = DeviceId> {
    "[A-Za-z0-9._:-]{1,64}".prop_filter_map("not . or ..", |id| DeviceId::parse(&id).ok())
}

fn state() -> impl Strategy<Value = VehicleState> {
    (-90.0..=90.0, -180.0..=180.0, any::<bool>(), 0_u64..=100).prop_map(
        |(latitude, longitude, running, battery)| VehicleState {
            latitude: Latitude::from_f64(latitude).unwrap(),
            longitude: Longitude::from_f64(longitude).unwrap(),
            running: running.into(),
            battery: Battery::new(battery).unwrap(),
        },
    )
}

fn interval() -> impl Strategy<Value = ReportInterval> {
    prop_oneof![Just(0), 10_u64..=3600].prop_map(|seconds| ReportInterval::new(seconds).unwrap())
}

fn sentence() -> impl Strategy<Value = DeviceSentence> {
    prop_oneof![
        device_id().prop_map(DeviceSentence::Hello),
        Just(DeviceSentence::Ping),
        state().prop_map(DeviceSentence::Report),
        state().prop_map(DeviceSentence::Fine),
        vec(any::<u8>(), 0..=LIMITS.blob).prop_map(|blob| DeviceSentence::DebugBlob(blob.into())),
        Just(DeviceSentence::Goodbye),
        interval().prop_map(DeviceSentence::KeepMePosted),
        Just(DeviceSentence::Done),
        Just(DeviceSentence::Cannot),
        Just(DeviceSentence::SureIWill),
        Just(DeviceSentence::SeeYa),
    ]
}

fn json_message() -> impl Strategy<Value = DeviceMessage> {
    (sentence(), proptest::option::of(device_id()), any::<bool>()).prop_map(
        |(sentence, client_id, is_reply)| DeviceMessage {
            sentence,
            client_id,
            is_reply: Some(is_reply),
        },
    )
}

fn encoded(message: &DeviceMessage, dialect: Dialect) -> Vec<u8> {
    let mut out = BytesMut::new();
    encode_device(message, dialect, Some(&Uuid::nil()), &mut out);
    out.into()
}

/// Input of a device, a broken device or an attacker: sentences, parts of sentences, separators and noise.
fn input(dialect: Dialect) -> impl Strategy<Value = Vec<u8>> {
    let whole = json_message()
        .prop_map(move |message| encoded(&message, dialect))
        .boxed();
    let part = (whole.clone(), any::<Index>())
        .prop_map(|(mut bytes, at)| {
            bytes.truncate(at.index(bytes.len()));
            bytes
        })
        .boxed();
    let changed = (whole.clone(), any::<Index>(), any::<u8>())
        .prop_map(|(mut bytes, at, byte)| {
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes
        })
        .boxed();
    let between = proptest::sample::select(vec![
        &b"\n"[..],
        b"\r\n",
        b" ",
        b"\\",
        b"\"",
        b"{",
        b"}",
        b"}}",
        b",",
        b"WTF! 3\n",
        b"WTF! 41\r\n",
        b"WTF! 99999999999999999999\n",
        b"REPORT. I'M HERE 999 0, RUNNING AND CHARGED AT 5%.",
        b"GOTTA                                                                              ",
    ])
    .prop_map(<[u8]>::to_vec);
    let noise = vec(any::<u8>(), 0..40);
    let begin = match dialect {
        Dialect::Text => &b"PING."[..],
        Dialect::Json => br#"{"message":"PING."}"#,
    };
    vec(
        prop_oneof![4 => whole, 2 => part, 2 => changed, 4 => between, 1 => noise],
        0..12,
    )
    .prop_map(move |pieces| [begin, &pieces.concat()].concat())
}

fn either_input() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        input(Dialect::Text),
        input(Dialect::Json),
        vec(any::<u8>(), 0..600),
    ]
}

fn in_chunks(input: &[u8], splits: &[Index]) -> Vec<Vec<u8>> {
    let mut at: Vec<_> = splits.iter().map(|at| at.index(input.len() + 1)).collect();
    at.extend([0, input.len()]);
    at.sort_unstable();
    at.windows(2)
        .map(|ends| input[ends[0]..ends[1]].to_vec())
        .collect()
}

fn is_closed(outcomes: &[DecodedOutcome]) -> bool {
    outcomes
        .iter()
        .any(|outcome| matches!(outcome, DecodedOutcome::TooLarge(_)))
}

proptest! {
    #[test]
    fn encoded_text_is_decoded_unchanged(sentences in vec(sentence(), 1..8)) {
        let messages: Vec<DeviceMessage> = sentences.into_iter().map(DeviceMessage::from).collect();
        let bytes: Vec<u8> = messages.iter().flat_map(|m| encoded(m, Dialect::Text)).collect();
        let expected: Vec<_> = messages.into_iter().map(DecodedOutcome::Message).collect();
        prop_assert_eq!(decode(&bytes), expected);
    }

    #[test]
    fn encoded_json_is_decoded_unchanged(messages in vec(json_message(), 1..8)) {
        let bytes: Vec<u8> = messages.iter().flat_map(|m| encoded(m, Dialect::Json)).collect();
        let expected: Vec<_> = messages.into_iter().map(DecodedOutcome::Message).collect();
        prop_assert_eq!(decode(&bytes), expected);
    }

    #[test]
    fn any_split_of_any_input_gives_the_same_results(
        input in either_input(),
        splits in vec(any::<Index>(), 0..20),
    ) {
        let mut whole = Decoder::new(LIMITS);
        let expected = feed(&mut whole, &input);
        for chunks in [in_chunks(&input, &splits), input.chunks(1).map(<[u8]>::to_vec).collect()] {
            let mut split = Decoder::new(LIMITS);
            let outcomes: Vec<_> = chunks.iter().flat_map(|c| feed(&mut split, c)).collect();
            prop_assert_eq!(&outcomes, &expected);
            prop_assert_eq!(split.dialect(), whole.dialect());
            prop_assert_eq!(split.is_skipping(), whole.is_skipping());
            prop_assert_eq!(split.in_blob(), whole.in_blob());
            prop_assert_eq!(split.is_idle(), whole.is_idle());
        }
    }

    #[test]
    fn no_input_takes_more_memory_than_the_cap_and_one_chunk(
        input in either_input(),
        splits in vec(any::<Index>(), 0..20),
    ) {
        let mut decoder = Decoder::new(LIMITS);
        let chunks = in_chunks(&input, &splits);
        let largest = chunks.iter().map(Vec::len).max().unwrap_or_default();
        for chunk in &chunks {
            decoder.push(chunk);
            let cap = match decoder.dialect() {
                Some(Dialect::Json) => LIMITS.json_object(),
                _ => LIMITS.sentence.max(LIMITS.blob),
            };
            prop_assert!(decoder.buffered() <= cap + largest);
            while decoder.next() != Decoded::Incomplete {}
            prop_assert!(!decoder.is_idle() || decoder.buffered() <= 256);
        }
    }

    #[test]
    fn a_sentence_after_a_newline_is_always_decoded(input in input(Dialect::Text)) {
        let mut decoder = Decoder::new(LIMITS);
        let mut outcomes = feed(&mut decoder, &input);
        prop_assume!(!decoder.in_blob());
        outcomes.extend(feed(&mut decoder, b"\n"));
        // The newline may have been the one that a blob's announcement waited for.
        prop_assume!(!decoder.in_blob() && !is_closed(&outcomes));
        let ping = DecodedOutcome::Message(DeviceSentence::Ping.into());
        prop_assert_eq!(feed(&mut decoder, b"PING."), [ping]);
    }

    #[test]
    fn a_sentence_after_garbage_and_quiet_is_always_decoded(
        input in input(Dialect::Text),
    ) {
        let mut decoder = Decoder::new(LIMITS);
        let outcomes = feed(&mut decoder, &[&input, &b"X"[..]].concat());
        prop_assume!(decoder.is_skipping() && !is_closed(&outcomes));
        decoder.quiet();
        let ping = DecodedOutcome::Message(DeviceSentence::Ping.into());
        prop_assert_eq!(feed(&mut decoder, b"PING."), [ping]);
    }

    #[test]
    fn an_object_after_a_bad_one_is_decoded(
        garbage in "[^{}\"\\\\]{0,40}",
        message in json_message(),
    ) {
        let ping = br#"{"message":"PING."}"#;
        let input = [
            &ping[..],
            format!("{{{garbage}}}").as_bytes(),
            garbage.as_bytes(),
            &encoded(&message, Dialect::Json),
        ]
        .concat();
        let last = decode(&input).pop();
        prop_assert_eq!(last, Some(DecodedOutcome::Message(message)));
    }
}

/// Exhaustive, because random splits could miss one.
#[test]
fn a_session_may_be_split_at_every_byte() {
    let text = b"HELLO, I'M v1!\r\nPING.REPORT. I'M HERE 1 -2.5, RUNNING AND CHARGED AT 7%.\n\
        POTATO\r\nWTF! 6\r\n\r\nWTF!WTF! 0\nFINE. I'M HERE 0 999, RESTING AND CHARGED AT 7%.GOTTA GO.";
    let json = br#" {"message":"HELLO, I'M v1!","clientId":"v1"}{"type":"reply","message":"DONE!"}{"message":"PING."}
        oops {"a":"}\"","message":"WTF! 3\n0,10,255"}{"message":"PIN"}{}{"message":"GOTTA GO."}"#;
    for input in [&text[..], json] {
        let expected = decode(input);
        assert_eq!(expected.len(), 8, "{expected:?}");
        for at in 0..=input.len() {
            let mut decoder = Decoder::new(LIMITS);
            let mut outcomes = feed(&mut decoder, &input[..at]);
            outcomes.extend(feed(&mut decoder, &input[at..]));
            assert_eq!(outcomes, expected, "at {at}");
        }
    }
}
