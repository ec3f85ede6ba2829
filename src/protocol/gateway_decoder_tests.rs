//! What a gateway says is heard as it was said.

use bytes::BytesMut;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::*;
use crate::{
    domain::{Action, ReportInterval},
    protocol::{Dialect, encode, encode_connected},
};

fn hear(decoder: &mut GatewayDecoder, chunk: &[u8]) -> Vec<Heard> {
    decoder.push(chunk);
    let mut all = Vec::new();
    loop {
        match decoder.next() {
            Heard::Incomplete => return all,
            heard => all.push(heard),
        }
    }
}

fn hear_all(bytes: &[u8]) -> Vec<Heard> {
    hear(&mut GatewayDecoder::default(), bytes)
}

fn said(sentence: GatewaySentence) -> Heard {
    Heard::Sentence {
        sentence,
        server_id: None,
    }
}

/// What a gateway says: `None` is the object that greets.
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
) -> Heard {
    let Some(sentence) = said else {
        encode_connected(&server_id, out);
        return Heard::Connected { server_id };
    };
    encode(sentence, dialect, &server_id, out);
    let names_the_server = dialect == Dialect::Json && sentence.is_command();
    Heard::Sentence {
        sentence,
        server_id: names_the_server.then_some(server_id),
    }
}

proptest! {
    #[test]
    fn what_was_encoded_is_heard_as_it_was_however_it_is_split(
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
        let heard: Vec<_> = at
            .windows(2)
            .flat_map(|ends| hear(&mut decoder, &bytes[ends[0]..ends[1]]))
            .collect();
        prop_assert_eq!(heard, expected);
    }

    #[test]
    fn no_input_holds_up_the_line_behind_it(input in vec(any::<u8>(), 0..200)) {
        // An object may go on over newlines; anything else ends with its line.
        prop_assume!(!input.contains(&b'{'));
        let mut decoder = GatewayDecoder::default();
        hear(&mut decoder, &input);
        hear(&mut decoder, b"\n");
        prop_assert_eq!(hear(&mut decoder, b"PONG.\n"), [said(GatewaySentence::Pong)]);
    }
}

#[test]
fn objects_need_no_newline_between_them() {
    let bytes =
        br#"{"type":"reply","message":"PONG."}{"message":"SEE YA!","x":[{}],"type":"reply"}"#;
    assert_eq!(
        hear_all(bytes),
        [said(GatewaySentence::Pong), said(GatewaySentence::SeeYa)]
    );
}

#[test]
fn a_carriage_return_is_white_space() {
    assert_eq!(hear_all(b"PONG.\r\n"), [said(GatewaySentence::Pong)]);
}

#[test]
fn what_no_gateway_says_is_told_and_what_follows_is_heard() {
    for odd in [
        "pong.",
        "KEEP ME POSTED EVERY 5 SECONDS.",
        "KEEP ME POSTED EVERY +50 SECONDS.",
        "{nonsense}",
        r#"{"message":"PONG."}"#,
        r#"{"type":"reply","message":"PING."}"#,
        r#"{"type":"connected","message":"Connected to server"}"#,
    ] {
        let heard = hear_all(format!("{odd}\nPONG.\n").as_bytes());
        let [Heard::NotUnderstood(_), pong] = &heard[..] else {
            panic!("{odd}: {heard:?}");
        };
        assert_eq!(*pong, said(GatewaySentence::Pong));
    }
}

#[test]
fn what_never_ends_is_dropped_up_to_the_next_line() {
    for first in [b'x', b'{'] {
        let mut decoder = GatewayDecoder::default();
        let mut odd = 0;
        for _ in 0..100 {
            let heard = hear(&mut decoder, &[&[first][..], &[b' '; 999]].concat());
            odd += heard.len();
            assert!(decoder.buffer.capacity() <= 2 * GatewayDecoder::LONGEST);
        }
        assert!(odd >= 1);
        let last = hear(&mut decoder, b"\nPONG.\n").pop();
        assert_eq!(last, Some(said(GatewaySentence::Pong)));
    }
}
