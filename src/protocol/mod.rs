//! The device protocol: bytes to sentences and back, in both dialects.
//!
//! A [`Decoder`] is fed whatever the socket returned and hands out what it understood, one
//! [`Decoded`] at a time; [`encode()`] writes what the gateway says. For the other end of the wire,
//! which simulators and tests are, there are [`GatewayDecoder`] and [`encode_device`]. Everything is synchronous and
//! pure: there is no socket, no clock, no session state and no log here, and this module imports
//! `domain`, `std`, `bytes`, `serde`, `serde_json` and `uuid` only. What a sentence *does* (who may
//! say it, what is stored, what is answered) is the session's business.
//!
//! Top-down: `decoder` picks the dialect; `text` and `json` find where a sentence begins and ends;
//! `sentence` is the grammar that both share; `buffer` holds the bytes of what is not complete
//! yet; `bad_input` says what was wrong with what was not understood.

mod bad_input;
mod buffer;
mod decoder;
mod encode;
mod gateway_decoder;
mod json;
mod sentence;
mod text;

#[cfg(test)]
mod property_tests;

pub use bad_input::{BadInput, BadReason};
pub use decoder::Decoder;
pub use encode::{encode, encode_connected, encode_device};
pub use gateway_decoder::{GatewayDecoder, Heard};

use crate::domain::{DeviceId, DeviceSentence};

/// How sentences travel on one connection; decided by the first non-blank byte from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The sentences themselves; a terminator is optional.
    Text,
    /// One JSON object for each sentence, without any delimiter.
    Json,
}

/// What a device may make the gateway hold, per connection. Checked before memory is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest sentence, in bytes. Only repeated spaces make one longer than about 200 bytes.
    pub sentence: usize,
    /// The largest debug blob, in bytes.
    pub blob: usize,
}

impl Limits {
    /// Keys, ids and white space of an envelope take about 150 bytes; unknown keys need the rest.
    const ENVELOPE: usize = 1024;

    /// The largest JSON object, in bytes: what the largest blob (or sentence) needs.
    ///
    /// A blob byte takes at most four, three digits and a comma.
    #[must_use]
    pub fn json_object(&self) -> usize {
        self.blob
            .saturating_mul(4)
            .saturating_add(self.sentence)
            .saturating_add(Self::ENVELOPE)
    }
}

/// A sentence of at most 4 KiB, a blob of at most 1 MiB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            sentence: 4 * 1024,
            blob: 1024 * 1024,
        }
    }
}

/// What a [`Decoder`] makes of the bytes it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing (more) is complete: push more bytes.
    Incomplete,
    /// A sentence, whole and in range.
    Message(Message),
    /// One bad sentence. The decoder goes on behind it.
    Bad(BadInput),
    /// A debug blob or JSON object above its cap: answer that it was bad, then close.
    ///
    /// The decoder drops everything that follows, because bytes of a blob must never be read as
    /// sentences.
    TooLarge(BadInput),
}

/// A sentence with what its envelope says of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// What the device said.
    pub sentence: DeviceSentence,
    /// JSON: the `clientId`, if there is one. Text: always `None`.
    pub client_id: Option<DeviceId>,
    /// JSON: whether the type is `reply` or `message`, which matters for `FINE.` only. Another type, or
    /// none, does not say, and neither does text: `None`.
    pub is_reply: Option<bool>,
}

impl From<DeviceSentence> for Message {
    fn from(sentence: DeviceSentence) -> Self {
        Self {
            sentence,
            client_id: None,
            is_reply: None,
        }
    }
}

/// White space as it may stand between sentences and objects: ASCII only.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b'\x0b' | b'\x0c')
}

/// How many blanks `bytes` begins with.
fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(**byte)).count()
}
