//! Unit tests of encoding, to the byte.

use super::*;
use crate::domain::{Action, Battery, DeviceId, Latitude, Longitude, ReportInterval, Running};

const SERVER: Uuid = Uuid::from_u128(0x1582_521b_27a7_4089_b6be_f70e_d9dc_800d);

fn encoded(sentence: GatewaySentence, dialect: Dialect) -> String {
    let mut out = BytesMut::new();
    encode(sentence, dialect, &SERVER, &mut out);
    String::from_utf8(out.to_vec()).unwrap()
}

fn every_sentence() -> Vec<(GatewaySentence, &'static str)> {
    let interval = |seconds| {
        GatewaySentence::Command(Action::KeepMePosted(ReportInterval::new(seconds).unwrap()))
    };
    vec![
        (GatewaySentence::Greeting, "HI, NICE TO MEET YOU!"),
        (GatewaySentence::Pong, "PONG."),
        (GatewaySentence::Thanks, "OK, THANKS!"),
        (
            GatewaySentence::BlobReported,
            "DAAAMN! ISSUE REPORTED ON JIRA",
        ),
        (GatewaySentence::SeeYa, "SEE YA!"),
        (GatewaySentence::SureIWill, "SURE, I WILL!"),
        (
            GatewaySentence::Bad,
            "SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.",
        ),
        (GatewaySentence::DontKnowYou, "I DON'T KNOW YOU!"),
        (
            GatewaySentence::Command(Action::AskState),
            "HOW'S IT GOING?",
        ),
        (interval(0), "KEEP ME POSTED EVERY 0 SECONDS."),
        (interval(3600), "KEEP ME POSTED EVERY 3600 SECONDS."),
        (GatewaySentence::Command(Action::Run), "HEY YOU, RUN!"),
        (GatewaySentence::Command(Action::Rest), "HEY YOU, REST!"),
        (GatewaySentence::Command(Action::Goodbye), "GOTTA GO."),
    ]
}

#[test]
fn text_sentences_end_with_a_newline() {
    for (sentence, text) in every_sentence() {
        assert_eq!(encoded(sentence, Dialect::Text), format!("{text}\n"));
    }
}

#[test]
fn json_objects_are_compact_with_ordered_keys() {
    for (sentence, text) in every_sentence() {
        let expected = if sentence.is_command() {
            format!(
                r#"{{"type":"command","message":"{text}","serverId":"1582521b-27a7-4089-b6be-f70ed9dc800d"}}"#
            )
        } else {
            format!(r#"{{"type":"reply","message":"{text}"}}"#)
        };
        assert_eq!(encoded(sentence, Dialect::Json), expected.clone() + "\n");
        let parsed: serde_json::Value = serde_json::from_str(&expected).unwrap();
        assert_eq!(parsed["message"], text);
    }
}

#[test]
fn the_connected_object_is_as_captured() {
    let mut out = BytesMut::new();
    encode_connected(&SERVER, &mut out);
    assert_eq!(
        out,
        "{\"type\":\"connected\",\"message\":\"Connected to server\",\
         \"serverId\":\"1582521b-27a7-4089-b6be-f70ed9dc800d\"}\n"
    );
}

#[test]
fn encoding_appends_to_the_buffer() {
    let mut out = BytesMut::from("before ");
    encode(GatewaySentence::Pong, Dialect::Text, &SERVER, &mut out);
    encode(GatewaySentence::Thanks, Dialect::Text, &SERVER, &mut out);
    assert_eq!(out, "before PONG.\nOK, THANKS!\n");
}

#[test]
fn device_sentences_are_as_captured() {
    let message = |sentence, is_reply| DeviceMessage {
        sentence,
        client_id: Some(DeviceId::parse("b5fb448e-d1b0-40ca-a783-24e127cbf76a").unwrap()),
        is_reply: Some(is_reply),
    };
    let state = VehicleState {
        latitude: Latitude::from_f64(43.021_561_65).unwrap(),
        longitude: Longitude::from_f64(-0.000_000_001).unwrap(),
        running: Running::Running,
        battery: Battery::new(47).unwrap(),
    };
    let blob = DeviceSentence::DebugBlob((&b"Hi\x00\xff"[..]).into());
    for (message, text, json) in [
        (
            message(DeviceSentence::Report(state), false),
            "REPORT. I'M HERE 43.02156165 -0.000000001, RUNNING AND CHARGED AT 47%.\n".into(),
            r#"{"type":"message","message":"REPORT. I'M HERE 43.02156165 -0.000000001, RUNNING AND CHARGED AT 47%.","#,
        ),
        (
            message(DeviceSentence::Done, true),
            "DONE!\n".into(),
            r#"{"type":"reply","message":"DONE!","#,
        ),
        (
            message(blob, false),
            [&b"WTF! 4\n"[..], b"Hi\x00\xff"].concat(),
            r#"{"type":"message","message":"WTF! 4\n72,105,0,255","#,
        ),
        (
            message(DeviceSentence::DebugBlob([][..].into()), false),
            b"WTF! 0\n".into(),
            r#"{"type":"message","message":"WTF! 0","#,
        ),
    ] {
        let text: Vec<u8> = text;
        let mut out = BytesMut::new();
        encode_device(&message, Dialect::Text, Some(&SERVER), &mut out);
        assert_eq!(out, text);
        out.clear();
        encode_device(&message, Dialect::Json, Some(&SERVER), &mut out);
        let ids = r#""clientId":"b5fb448e-d1b0-40ca-a783-24e127cbf76a","serverId":"1582521b-27a7-4089-b6be-f70ed9dc800d"}"#;
        assert_eq!(out, format!("{json}{ids}"));
    }
}
