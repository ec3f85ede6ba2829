//! Unit tests of the JSON dialect: framing and envelope (docs/protocol.md, "JSON").

use bytes::Bytes;

use crate::{
    domain::{DeviceId, DeviceSentence as S},
    protocol::{BadInput, BadReason, Decoded, Decoder, DeviceMessage, Limits},
};

/// All results of `decoder` for `input`.
fn feed(decoder: &mut Decoder, input: &[u8]) -> Vec<Decoded> {
    decoder.push(input);
    std::iter::from_fn(|| match decoder.next() {
        Decoded::Incomplete => None,
        found => Some(found),
    })
    .collect()
}

fn decode(input: impl AsRef<[u8]>) -> Vec<Decoded> {
    feed(&mut Decoder::new(Limits::default()), input.as_ref())
}

/// Decodes `input` as one message.
fn message(input: impl AsRef<[u8]>) -> DeviceMessage {
    match decode(input).swap_remove(0) {
        Decoded::Message(message) => message,
        other => unreachable!("{other:?}"),
    }
}

/// The reason why `input`, one object, is a bad sentence.
fn bad(input: impl AsRef<[u8]>) -> BadReason {
    let input = [input.as_ref(), br#"{"message":"PING."}"#].concat();
    match &decode(input)[..] {
        [Decoded::Bad(bad), Decoded::Message(_)] => bad.reason.clone(),
        other => unreachable!("{other:?}"),
    }
}

#[test]
fn captured_objects_are_decoded() {
    let vehicle = "b5fb448e-d1b0-40ca-a783-24e127cbf76a";
    let server = "1582521b-27a7-4089-b6be-f70ed9dc800d";
    let client_id = DeviceId::parse(vehicle).unwrap();
    for (kind, said, expected) in [
        (
            "message",
            "HELLO, I'M b5fb448e-d1b0-40ca-a783-24e127cbf76a!",
            "Hello(\"b5fb448e-d1b0-40ca-a783-24e127cbf76a\")",
        ),
        (
            "message",
            r"WTF! 13\n72,101,108,108,111,44,32,119,111,114,108,100,33",
            "DebugBlob(b\"Hello, world!\")",
        ),
        ("reply", "DONE!", "Done"),
        ("reply", "I CAN'T, SORRY.", "Cannot"),
        (
            "reply",
            "FINE. I'M HERE 45.021561650 8.156484, RESTING AND CHARGED AT 65%.",
            "Fine(VehicleState { latitude: 45.02156165, longitude: 8.156484, running: Resting, \
             battery: Battery(65) })",
        ),
        ("reply", "SURE, I WILL!", "SureIWill"),
        (
            "message",
            "REPORT. I'M HERE 43.021561650 8.156484, RUNNING AND CHARGED AT 47%.",
            "Report(VehicleState { latitude: 43.02156165, longitude: 8.156484, running: Running, \
             battery: Battery(47) })",
        ),
        ("message", "PING.", "Ping"),
        ("message", "GOTTA GO.", "Goodbye"),
        ("reply", "SEE YA!", "SeeYa"),
    ] {
        // Both orders of the last two keys were seen.
        for ids in [
            format!(r#""clientId":"{vehicle}","serverId":"{server}""#),
            format!(r#""serverId":"{server}","clientId":"{vehicle}""#),
        ] {
            let found = message(format!(r#"{{"type":"{kind}","message":"{said}",{ids}}}"#));
            assert_eq!(format!("{:?}", found.sentence), expected);
            assert_eq!(found.client_id.as_ref(), Some(&client_id));
            assert_eq!(found.is_reply, Some(kind == "reply"));
        }
    }
}

#[test]
fn objects_need_no_delimiter() {
    for input in [
        r#"{"message":"PING."}{"message":"DONE!"}"#,
        "{\"message\":\"PING.\"}\n{\"message\":\"DONE!\"}\n",
        "\r\n { \"message\" :\t\"PING.\" }\r\n\x0b\x0c{\"message\":\"DONE!\"}",
    ] {
        let expected = [S::Ping, S::Done].map(|sentence| Decoded::Message(sentence.into()));
        assert_eq!(decode(input), expected, "{input}");
    }
}

#[test]
fn an_object_ends_at_its_balancing_brace() {
    for object in [
        r#"{"a":{"b":{}},"message":"PING."}"#,
        r#"{"a":"}}{{","message":"PING."}"#,
        r#"{"a":"\"}","message":"PING."}"#,
        r#"{"a":"\\","message":"PING.","b":[{"c":"{\\\"{"}]}"#,
    ] {
        assert_eq!(message(object).sentence, S::Ping, "{object}");
    }
}

#[test]
fn unknown_keys_and_types_are_ignored() {
    for object in [
        r#"{"x":1e400,"serverId":"not a uuid","message":"PING."}"#,
        r#"{"serverId":null,"type":null,"clientId":null,"message":"PING."}"#,
        r#"{"serverId":{"a":[1]},"type":{"a":[true]},"message":"PING."}"#,
        r#"{"serverId":-1,"type":-1.5,"message":"PING."}"#,
        r#"{"serverId":1,"type":[1,"reply"],"message":"PING."}"#,
        r#"{"type":18446744073709551615,"message":"PING.","__proto__":{}}"#,
        r#"{"type":"Reply","message":"PING."}"#,
        r#"{"type":false,"message":"PING."}"#,
    ] {
        assert_eq!(message(object), S::Ping.into(), "{object}");
    }
    let deep = format!(
        r#"{{"a":{}1{},"message":"PING."}}"#,
        r#"{"a":["#.repeat(5000),
        "]}".repeat(5000)
    );
    assert_eq!(message(deep).sentence, S::Ping);
}

#[test]
fn a_message_is_one_sentence_with_white_space_around_it() {
    assert_eq!(
        message(r#"{"message":" \r\n\tPING.\u000b \n"}"#).sentence,
        S::Ping
    );
    assert_eq!(
        message(r#"{"message":"I\u0020CAN\u0027T, SORRY."}"#).sentence,
        S::Cannot
    );
    for (text, expected) in [
        ("PING.PING.", "MoreThanOneSentence"),
        (r"PING.\nPING.", "MoreThanOneSentence"),
        ("PIN", "Unfinished { expected: \"PING.\" }"),
        ("", "Unfinished { expected: \"a sentence such as PING.\" }"),
        ("POTATO", "Malformed { at: 1, expected: \"PING.\" }"),
        ("ping.", "UnknownSentence"),
        ("HELLO, I'M ..!", "InvalidDeviceId"),
        (r"PI\nNG.", "Malformed { at: 2, expected: \"PING.\" }"),
    ] {
        let reason = bad(format!(r#"{{"message":"{text}"}}"#));
        assert_eq!(format!("{reason:?}"), expected, "{text}");
    }
    let spaces = " ".repeat(4096);
    assert_eq!(
        bad(format!(r#"{{"message":"GOTTA{spaces}GO."}}"#)),
        BadReason::TooLong { limit: 4096 }
    );
}

#[test]
fn an_invalid_object_is_one_bad_sentence() {
    for object in [
        &b"{}}"[..2],
        br#"{"type":"message"}"#,
        br#"{"message":null}"#,
        br#"{"message":1}"#,
        br#"{"message":["PING."]}"#,
        br#"{"DeviceMessage":"PING."}"#,
    ] {
        assert_eq!(bad(object), BadReason::NoMessage, "{object:?}");
    }
    for object in [
        &br#"{"message":"PING.",}"#[..],
        b"{message:'PING.'}",
        br#"{"message":"PING."]}"#,
        br#"{"a":[}"#,
        b"{\"message\":\"PING.\",\"x\":\"\xff\"}",
        b"{\"message\":\"PI\nNG.\"}",
        br#"{"message":"PING.","message":"DONE!"}"#,
        br#"{"message":"\ud800"}"#,
        b"{{}}",
    ] {
        assert!(matches!(bad(object), BadReason::NotJson(_)), "{object:?}");
    }
}

#[test]
fn a_client_id_is_a_device_id_or_absent() {
    let with = |id: &str| format!(r#"{{"message":"PING.","clientId":{id}}}"#);
    assert_eq!(message(with("null")).client_id, None);
    let upper = message(with(r#""9180AF05-0219-4C88-8A95-3DA86B130D43""#));
    let lower = DeviceId::parse("9180af05-0219-4c88-8a95-3da86b130d43").unwrap();
    assert_eq!(upper.client_id, Some(lower));
    for id in [r#""""#, r#"".""#, r#""a b""#, "7", "{}", "[]", "true"] {
        assert_eq!(bad(with(id)), BadReason::InvalidDeviceId, "{id}");
    }
}

#[test]
fn each_message_has_the_client_id_of_its_object() {
    let ids: Vec<_> = decode(
        r#"{"message":"PING.","clientId":"a"}{"message":"PING.","clientId":"a"}
           {"message":"PING.","clientId":"b"}{"message":"PING."}{"message":"PING.","clientId":"a"}"#,
    )
    .into_iter()
    .map(|found| match found {
        Decoded::Message(message) => message.client_id.map(|id| id.to_string()),
        other => unreachable!("{other:?}"),
    })
    .collect();
    let expected = [Some("a"), Some("a"), Some("b"), None, Some("a")];
    assert_eq!(ids, expected.map(|id| id.map(str::to_owned)));
}

#[test]
fn bytes_between_objects_are_one_bad_sentence() {
    let ping = r#"{"message":"PING."}"#;
    for (garbage, bad) in [
        ("PING.", 1),
        (",", 1),
        ("}", 1),
        ("a b c", 1),
        ("\"", 1),
        ("one\n", 1),
        ("one\n two", 2),
        ("one\r\n\r\n", 1),
    ] {
        let found = decode(format!("{ping}{garbage}{ping}"));
        let reasons: Vec<_> = found
            .iter()
            .map(|found| matches!(found, Decoded::Message(_)))
            .collect();
        let expected = [vec![true], vec![false; bad], vec![true]].concat();
        assert_eq!(reasons, expected, "{garbage:?}");
    }
}

#[test]
fn garbage_between_objects_takes_no_memory() {
    let mut decoder = Decoder::new(Limits::default());
    feed(&mut decoder, br#"{"message":"PING."}x"#);
    assert!(!decoder.is_skipping());
    let before = decoder.buffered();
    for _ in 0..100 {
        assert_eq!(feed(&mut decoder, &[b'x'; 4096]), []);
    }
    assert_eq!(decoder.buffered(), before);
}

#[test]
fn a_blob_is_n_decimal_values_joined_by_commas() {
    let blob = |text: &str| message(format!(r#"{{"message":"{text}"}}"#)).sentence;
    let bytes = |bytes: &'static [u8]| S::DebugBlob(Bytes::from_static(bytes));
    assert_eq!(blob("WTF! 0"), bytes(b""));
    assert_eq!(blob(r"WTF! 0\n"), bytes(b""));
    assert_eq!(blob(r"WTF! 3\n0,255,10"), bytes(b"\x00\xff\x0a"));
    assert_eq!(blob(r" WTF!  3\r\n007,0,010 \n"), bytes(b"\x07\x00\x0a"));

    let bad = |text: &str| bad(format!(r#"{{"message":"{text}"}}"#));
    for (text, announced, found) in [
        ("WTF! 1", 1, 0),
        (r"WTF! 0\n7", 0, 1),
        (r"WTF! 2\n1", 2, 1),
        (r"WTF! 2\n1,2,3", 2, 3),
        (r"WTF! 2\n1,2,", 2, 3),
        (r"WTF! 1048576\n1", 1_048_576, 1),
    ] {
        assert_eq!(
            bad(text),
            BadReason::BlobCount { announced, found },
            "{text}"
        );
    }
    for values in [
        "256", "1000", "-1", "1.0", "x", "1 ", "", "0x1", "0001", "+1",
    ] {
        let text = format!(r"WTF! 3\n1,{values},2");
        assert_eq!(bad(&text), BadReason::BlobByte, "{text}");
    }
    assert!(matches!(
        bad("WTF! 1 1"),
        BadReason::Malformed { at: 6, .. }
    ));
}

#[test]
fn a_blob_above_the_cap_is_too_large() {
    let limits = Limits {
        sentence: 100,
        blob: 1000,
    };
    let object = |size: usize| {
        let values = vec!["255"; size].join(",");
        format!(
            r#"{{"type":"message","message":"WTF! {size}\n{values}","clientId":"{}"}}"#,
            "x".repeat(64)
        )
    };
    let found = feed(&mut Decoder::new(limits), object(1000).as_bytes());
    assert!(matches!(found[..], [Decoded::Message(_)]));
    let found = feed(&mut Decoder::new(limits), object(1001).as_bytes());
    assert!(matches!(
        &found[..],
        [Decoded::TooLarge(BadInput {
            reason: BadReason::BlobTooLarge { size: 1001, .. },
            ..
        })]
    ));
}

#[test]
fn an_object_is_too_large_as_soon_as_it_reaches_the_cap() {
    let limits = Limits {
        sentence: 100,
        blob: 10,
    };
    let most = limits.json_object();
    assert_eq!(most, 40 + 100 + 1024);
    let padded = |len: usize| {
        let rest = r#"{"message":"PING.","x":""}"#.len();
        format!(r#"{{"message":"PING.","x":"{}"}}"#, "x".repeat(len - rest))
    };
    let mut decoder = Decoder::new(limits);
    let found = feed(&mut decoder, padded(most).as_bytes());
    assert!(matches!(found[..], [Decoded::Message(_)]));
    let start = padded(most + 1);
    assert_eq!(feed(&mut decoder, &start.as_bytes()[..most - 1]), []);
    let found = feed(&mut decoder, &start.as_bytes()[most - 1..most]);
    assert!(matches!(
        &found[..],
        [Decoded::TooLarge(BadInput {
            reason: BadReason::ObjectTooLarge { .. },
            ..
        })]
    ));
}

#[test]
fn an_object_longer_than_any_sentence_holds_a_blob() {
    let mut decoder = Decoder::new(Limits::default());
    feed(&mut decoder, br#"{"message":"WTF! 2000\n"#);
    assert!(!decoder.in_blob());
    feed(&mut decoder, "1,".repeat(1999).as_bytes());
    feed(&mut decoder, "1".repeat(200).as_bytes());
    assert!(decoder.in_blob());
    assert!(matches!(
        feed(&mut decoder, br#""}"#)[..],
        [Decoded::Bad(_)]
    ));
    assert!(!decoder.in_blob());
}

#[test]
fn an_excerpt_is_of_the_sentence_or_else_of_the_object() {
    let excerpt = |input: &str| match decode(input).swap_remove(0) {
        Decoded::Bad(bad) => bad.excerpt,
        other => unreachable!("{other:?}"),
    };
    assert_eq!(excerpt(r#"{"message":"POTATO"}"#), b"POTATO");
    assert_eq!(excerpt("{potato}"), b"{potato}");
    assert_eq!(excerpt("{}\n"), b"{}");
    assert_eq!(excerpt(&format!("{{{}}}", "x".repeat(500))).len(), 80);
}
