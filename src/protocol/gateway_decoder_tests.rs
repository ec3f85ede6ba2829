//! Unit tests of the gateway decoder.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    domain::{Action, ReportInterval},
    protocol::{Dialect, encode, encode_connected},
};

fn decode(decoder: &mut GatewayDecoder, chunk: &[u8]) -> Vec<GatewayDecoded> {
    decoder.push(chunk);
    let mut all = Vec::new();
    loop {
        match decoder.next() {
            GatewayDecoded::Incomplete => return all,
            result => all.push(result),
        }
    }
}

fn decode_all(bytes: &[u8]) -> Vec<GatewayDecoded> {
    decode(&mut GatewayDecoder::default(), bytes)
}

fn decoded(sentence: GatewaySentence) -> GatewayDecoded {
    GatewayDecoded::Sentence {
        sentence,
        server_id: None,
    }
}

/// Anything that a gateway sends; `None` is the `connected` object.
fn anything() -> impl Strategy<Value = Option<GatewaySentence>> {
    let interval = prop_oneof![Just(0), 10_u64..=3600]
        .prop_map(|seconds| ReportInterval::new(seconds).unwrap())
        .prop_map(Action::KeepMePosted);
    let fixed = [Action::AskState, Action::Run, Action::Rest, Action::Goodbye];
    let action = prop_oneof![4 => proptest::sample::select(fixed.to_vec()), 1 => interval];
    let sentence = prop_oneof![
        2 => proptest::sample::select(&FIXED[..]),
        1 => action.prop_map(GatewaySentence::Command),
    ];
    proptest::option::weighted(0.9, sentence)
}

fn encoded(
    said: Option<GatewaySentence>,
    dialect: Dialect,
    server_id: Uuid,
    out: &mut BytesMut,
) -> GatewayDecoded {
    let Some(sentence) = said else {
        encode_connected(&server_id, out);
        return GatewayDecoded::Connected { server_id };
    };
    encode(sentence, dialect, &server_id, out);
    let names_the_server = dialect == Dialect::Json && sentence.is_command();
    GatewayDecoded::Sentence {
        sentence,
        server_id: names_the_server.then_some(server_id),
    }
}

proptest! {
    #[test]
    fn encoded_sentences_are_decoded_however_they_are_split(
        talk in vec(anything(), 1..8),
        json in any::<bool>(),
        server_id in any::<u128>(),
        splits in vec(any::<Index>(), 0..10),
    ) {
        let dialect = if json { Dialect::Json } else { Dialect::Text };
        let mut bytes = BytesMut::new();
        let expected: Vec<_> = talk
            .into_iter()
            .map(|said| encoded(said, dialect, Uuid::from_u128(server_id), &mut bytes))
            .collect();
        let mut at: Vec<_> = splits.iter().map(|at| at.index(bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let mut decoder = GatewayDecoder::default();
        let results: Vec<_> = at
            .windows(2)
            .flat_map(|ends| decode(&mut decoder, &bytes[ends[0]..ends[1]]))
            .collect();
        prop_assert_eq!(results, expected);
    }

    #[test]
    fn no_input_hides_the_line_after_it(input in vec(any::<u8>(), 0..200)) {
        // An object may go on over newlines; anything else ends with its line.
        prop_assume!(!input.contains(&b'{'));
        let mut decoder = GatewayDecoder::default();
        decode(&mut decoder, &input);
        decode(&mut decoder, b"\n");
        prop_assert_eq!(decode(&mut decoder, b"PONG.\n"), [decoded(GatewaySentence::Pong)]);
    }
}

#[test]
fn objects_need_no_newline_between_them() {
    let bytes =
        br#"{"type":"reply","message":"PONG."}{"message":"SEE YA!","x":[{}],"type":"reply"}"#;
    assert_eq!(
        decode_all(bytes),
        [
            decoded(GatewaySentence::Pong),
            decoded(GatewaySentence::SeeYa)
        ]
    );
}

#[test]
fn a_carriage_return_is_white_space() {
    assert_eq!(decode_all(b"PONG.\r\n"), [decoded(GatewaySentence::Pong)]);
}

#[test]
fn invalid_input_is_reported_and_skipped() {
    for odd in [
        "pong.",
        "KEEP ME POSTED EVERY 5 SECONDS.",
        "KEEP ME POSTED EVERY +50 SECONDS.",
        "{nonsense}",
        r#"{"message":"PONG."}"#,
        r#"{"type":"reply","message":"PING."}"#,
        r#"{"type":"connected","message":"Connected to server"}"#,
    ] {
        let results = decode_all(format!("{odd}\nPONG.\n").as_bytes());
        let [GatewayDecoded::Invalid(_), pong] = &results[..] else {
            panic!("{odd}: {results:?}");
        };
        assert_eq!(*pong, decoded(GatewaySentence::Pong));
    }
}

#[test]
fn endless_input_is_dropped_up_to_the_next_line() {
    for first in [b'x', b'{'] {
        let mut decoder = GatewayDecoder::default();
        let mut odd = 0;
        for _ in 0..100 {
            let results = decode(&mut decoder, &[&[first][..], &[b' '; 999]].concat());
            odd += results.len();
            assert!(decoder.buffer.capacity() <= 2 * GatewayDecoder::LONGEST);
        }
        assert!(odd >= 1);
        let last = decode(&mut decoder, b"\nPONG.\n").pop();
        assert_eq!(last, Some(decoded(GatewaySentence::Pong)));
    }
}
