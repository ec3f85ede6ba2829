//! The JSON dialect: the end of an object, its envelope, and the sentence in it.

use std::{borrow::Cow, fmt};

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer,
    de::{IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use super::{
    BadInput, BadReason, Decoded, DeviceMessage, Limits, blanks,
    buffer::Buffer,
    is_blank,
    sentence::{Match, match_sentence},
};
use crate::domain::{DeviceId, DeviceSentence};

/// The state of the scan for the end of the pending object. No byte is scanned twice.
#[derive(Default)]
pub(super) struct JsonFraming {
    scanned: usize,
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// Whether bytes between objects are being skipped.
    garbage: bool,
    /// The last `clientId`. A device sends the same one in every object: so all its messages share one allocation.
    client_id: Option<DeviceId>,
}

impl JsonFraming {
    /// The number of leading `bytes` that need not be kept.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> usize {
        if self.in_object() {
            return 0;
        }
        let mut unneeded = 0;
        if self.garbage {
            let Some(end) = bytes.iter().position(|byte| b"{\n".contains(byte)) else {
                return bytes.len();
            };
            self.garbage = false;
            unneeded = end;
        }
        unneeded + blanks(&bytes[unneeded..])
    }

    pub(super) fn in_object(&self) -> bool {
        self.scanned > 0
    }

    /// The next result. The first pending byte must not be a blank.
    pub(super) fn next(&mut self, buffer: &mut Buffer, limits: &Limits) -> Decoded {
        let pending = buffer.pending();
        if pending.first() != Some(&b'{') {
            self.garbage = true;
            let end = pending.iter().position(|byte| b"{\n".contains(byte));
            let garbage = &pending[..end.unwrap_or(pending.len())];
            return BadInput::new(BadReason::BetweenObjects, garbage).into();
        }
        let limit = limits.json_object();
        match self.scan(&pending[..pending.len().min(limit)]) {
            Some(len) => {
                let decoded = self.object(&pending[..len], limits);
                buffer.consume(len);
                decoded.map_or_else(Decoded::from, Decoded::Message)
            }
            None if pending.len() < limit => Decoded::Incomplete,
            None => BadInput::new(BadReason::ObjectTooLarge { limit }, pending).into(),
        }
    }

    /// Scans to the balancing brace. Returns the length of the object, or none if it is incomplete.
    fn scan(&mut self, object: &[u8]) -> Option<usize> {
        for &byte in &object[self.scanned..] {
            self.scanned += 1;
            if self.escaped {
                self.escaped = false;
                continue;
            }
            match byte {
                b'\\' => self.escaped = self.in_string,
                b'"' => self.in_string = !self.in_string,
                b'{' if !self.in_string => self.depth += 1,
                b'}' if !self.in_string => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return Some(std::mem::take(&mut self.scanned));
                    }
                }
                _ => {}
            }
        }
        None
    }

    fn object(&mut self, object: &[u8], limits: &Limits) -> Result<DeviceMessage, BadInput> {
        // The whole object is checked, because the parser does not check the strings that it ignores.
        let json = str::from_utf8(object)
            .map_err(|error| BadInput::new(BadReason::NotJson(error.to_string()), object))?;
        let envelope: DeviceEnvelope = serde_json::from_str(json)
            .map_err(|error| BadInput::new(BadReason::NotJson(error.to_string()), object))?;
        let FieldValue::Text(message) = envelope.message else {
            return Err(BadInput::new(BadReason::NoMessage, object));
        };
        Ok(DeviceMessage {
            sentence: sentence(&message, limits)
                .map_err(|reason| BadInput::new(reason, message.as_bytes()))?,
            client_id: self
                .client_id(&envelope.client_id)
                .map_err(|reason| BadInput::new(reason, object))?,
            is_reply: envelope.kind.is_reply(),
        })
    }

    fn client_id(&mut self, value: &FieldValue) -> Result<Option<DeviceId>, BadReason> {
        match value {
            FieldValue::Null => Ok(None),
            FieldValue::Other => Err(BadReason::InvalidDeviceId),
            FieldValue::Text(text) => match &self.client_id {
                Some(known) if known.as_str() == text => Ok(Some(known.clone())),
                _ => {
                    self.client_id = Some(DeviceId::parse(text)?);
                    Ok(self.client_id.clone())
                }
            },
        }
    }
}

/// Parses `message`, without the white space around it, as one sentence.
fn sentence(message: &str, limits: &Limits) -> Result<DeviceSentence, BadReason> {
    let text = message.as_bytes();
    let text = &text[blanks(text)..];
    let end = text.iter().rposition(|&byte| !is_blank(byte));
    let text = &text[..end.map_or(0, |last| last + 1)];
    let seen = &text[..text.len().min(limits.sentence)];
    match match_sentence(seen, seen.len() == text.len()) {
        Match::Complete { len, sentence } if len == text.len() => Ok(sentence),
        Match::Complete { .. } => Err(BadReason::MoreThanOneSentence),
        Match::NeedMore { .. } if seen.len() < text.len() => Err(BadReason::TooLong {
            limit: limits.sentence,
        }),
        Match::NeedMore { expected } => Err(BadReason::Unfinished { expected }),
        Match::Impossible { reason, .. } | Match::OutOfRange { reason, .. } => Err(reason),
        Match::BlobHeader { len, size } => {
            blob(size, &text[len..], limits.blob).map(DeviceSentence::DebugBlob)
        }
    }
}

/// Parses `size` decimal byte values joined by commas.
fn blob(size: u64, values: &[u8], limit: usize) -> Result<Bytes, BadReason> {
    if usize::try_from(size).map_or(true, |size| size > limit) {
        return Err(BadReason::BlobTooLarge { size, limit });
    }
    // Counted before memory is allocated for the announced number.
    let values = || {
        values
            .split(|byte| *byte == b',')
            .filter(|_| !values.is_empty())
    };
    let found = values().count();
    if found as u64 != size {
        return Err(BadReason::BlobCount {
            announced: size,
            found: found as u64,
        });
    }
    let mut blob = Vec::with_capacity(found);
    for value in values() {
        blob.push(byte_value(value).ok_or(BadReason::BlobByte)?);
    }
    Ok(blob.into())
}

/// Parses one to three digits as a byte.
fn byte_value(digits: &[u8]) -> Option<u8> {
    if !(1..=3).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let value = digits
        .iter()
        .fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
    u8::try_from(value).ok()
}

/// The known keys; others are ignored. A key that occurs twice is an error, because either could be meant.
#[derive(Deserialize)]
struct DeviceEnvelope<'a> {
    #[serde(borrow, default)]
    message: FieldValue<'a>,
    #[serde(borrow, default, rename = "clientId")]
    client_id: FieldValue<'a>,
    #[serde(borrow, default, rename = "type")]
    kind: FieldValue<'a>,
}

impl FieldValue<'_> {
    /// Whether the value of `type` is `reply` or `message`; none for any other.
    fn is_reply(&self) -> Option<bool> {
        match self {
            Self::Text(kind) if kind == "reply" => Some(true),
            Self::Text(kind) if kind == "message" => Some(false),
            _ => None,
        }
    }
}

/// A value of any JSON type. Only text is kept.
#[derive(Default)]
enum FieldValue<'a> {
    /// `null`, or the key is missing.
    #[default]
    Null,
    Text(Cow<'a, str>),
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for FieldValue<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FieldValueVisitor)
    }
}

struct FieldValueVisitor;

impl<'de> Visitor<'de> for FieldValueVisitor {
    type Value = FieldValue<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(FieldValue::Null)
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(FieldValue::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(FieldValue::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(FieldValue::Other)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(FieldValue::Other)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(FieldValue::Other)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(FieldValue::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(FieldValue::Other)
    }
}

#[cfg(test)]
#[path = "json_tests.rs"]
mod tests;
