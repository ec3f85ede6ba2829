//! Encodes sentences into bytes: those of the gateway, and for simulators and tests those of a device.

use std::borrow::Cow;

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::{DeviceMessage, Dialect};
use crate::domain::{DeviceSentence, GatewaySentence, VehicleState};

// JSON is written by hand, because some firmware matches on its text: compact, with the keys in the order of the
// examples in docs/protocol.md. No sentence, id or UUID has a character that needs an escape.

/// Appends a sentence of the gateway and a newline.
pub fn encode(sentence: GatewaySentence, dialect: Dialect, server_id: &Uuid, out: &mut BytesMut) {
    match dialect {
        Dialect::Text => put_gateway_sentence(sentence, out),
        Dialect::Json if sentence.is_command() => {
            out.put_slice(br#"{"type":"command","message":""#);
            put_gateway_sentence(sentence, out);
            out.put_slice(br#"","serverId":""#);
            put_uuid(server_id, out);
            out.put_slice(br#""}"#);
        }
        Dialect::Json => {
            out.put_slice(br#"{"type":"reply","message":""#);
            put_gateway_sentence(sentence, out);
            out.put_slice(br#""}"#);
        }
    }
    out.put_u8(b'\n');
}

/// Appends the `connected` object, which greets a JSON device, and a newline.
pub fn encode_connected(server_id: &Uuid, out: &mut BytesMut) {
    out.put_slice(br#"{"type":"connected","message":"Connected to server","serverId":""#);
    put_uuid(server_id, out);
    out.put_slice(b"\"}\n");
}

/// Appends a sentence of a device.
///
/// In text a newline follows a sentence and nothing follows a blob; the ids and whether it is a reply are left out. In
/// JSON there is no delimiter, as with real devices.
pub fn encode_device(
    message: &DeviceMessage,
    dialect: Dialect,
    server_id: Option<&Uuid>,
    out: &mut BytesMut,
) {
    let sentence = &message.sentence;
    match dialect {
        Dialect::Text => {
            put_device_sentence(sentence, out);
            out.put_u8(b'\n');
            if let DeviceSentence::DebugBlob(blob) = sentence {
                out.put_slice(blob);
            }
        }
        Dialect::Json => {
            let is_reply = message.is_reply == Some(true);
            let kind = if is_reply { "reply" } else { "message" };
            out.put_slice(br#"{"type":""#);
            out.put_slice(kind.as_bytes());
            out.put_slice(br#"","message":""#);
            put_device_sentence(sentence, out);
            if let DeviceSentence::DebugBlob(blob) = sentence {
                put_decimal_blob(blob, out);
            }
            if let Some(id) = &message.client_id {
                out.put_slice(br#"","clientId":""#);
                out.put_slice(id.as_str().as_bytes());
            }
            if let Some(server_id) = server_id {
                out.put_slice(br#"","serverId":""#);
                put_uuid(server_id, out);
            }
            out.put_slice(br#""}"#);
        }
    }
}

fn put_gateway_sentence(sentence: GatewaySentence, out: &mut BytesMut) {
    put(&gateway_words(sentence), out);
}

/// The text of the sentence, without a newline.
pub(super) fn gateway_words(sentence: GatewaySentence) -> Cow<'static, str> {
    Cow::Borrowed(match sentence {
        GatewaySentence::Greeting => "HI, NICE TO MEET YOU!",
        GatewaySentence::Pong => "PONG.",
        GatewaySentence::Thanks => "OK, THANKS!",
        GatewaySentence::BlobReported => "DAAAMN! ISSUE REPORTED ON JIRA",
        GatewaySentence::SeeYa => "SEE YA!",
        GatewaySentence::SureIWill => "SURE, I WILL!",
        GatewaySentence::Bad => "SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.",
        GatewaySentence::DontKnowYou => "I DON'T KNOW YOU!",
        GatewaySentence::Command(action) => return Cow::Owned(action.to_string()),
    })
}

/// Appends the text of the sentence, without a newline. Of a blob this is only `WTF! <n>`.
fn put_device_sentence(sentence: &DeviceSentence, out: &mut BytesMut) {
    match sentence {
        DeviceSentence::Hello(id) => put(&format!("HELLO, I'M {id}!"), out),
        DeviceSentence::Ping => put("PING.", out),
        DeviceSentence::Report(state) => put_state("REPORT.", state, out),
        DeviceSentence::Fine(state) => put_state("FINE.", state, out),
        DeviceSentence::DebugBlob(blob) => put(&format!("WTF! {}", blob.len()), out),
        DeviceSentence::Goodbye => put("GOTTA GO.", out),
        DeviceSentence::KeepMePosted(interval) => {
            let seconds = interval.seconds();
            put(&format!("KEEP ME POSTED EVERY {seconds} SECONDS."), out);
        }
        DeviceSentence::Done => put("DONE!", out),
        DeviceSentence::Cannot => put("I CAN'T, SORRY.", out),
        DeviceSentence::SureIWill => put("SURE, I WILL!", out),
        DeviceSentence::SeeYa => put("SEE YA!", out),
    }
}

fn put_state(opening: &str, state: &VehicleState, out: &mut BytesMut) {
    put(&format!("{opening} {state}"), out);
}

/// Appends an escaped newline and the bytes as decimal numbers, or nothing for an empty blob.
fn put_decimal_blob(blob: &[u8], out: &mut BytesMut) {
    for (index, &byte) in blob.iter().enumerate() {
        out.put_slice(if index == 0 { br"\n" } else { b"," });
        if byte >= 100 {
            out.put_u8(b'0' + byte / 100);
        }
        if byte >= 10 {
            out.put_u8(b'0' + byte / 10 % 10);
        }
        out.put_u8(b'0' + byte % 10);
    }
}

fn put_uuid(uuid: &Uuid, out: &mut BytesMut) {
    let mut text = Uuid::encode_buffer();
    put(uuid.hyphenated().encode_lower(&mut text), out);
}

fn put(text: &str, out: &mut BytesMut) {
    out.put_slice(text.as_bytes());
}

#[cfg(test)]
#[path = "encode_tests.rs"]
mod tests;
