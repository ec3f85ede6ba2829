//! The device protocol: bytes to sentences and back, in both dialects.
//!
//! A [`Decoder`] takes the bytes of the socket and returns one [`Decoded`] after another; [`encode()`] writes the
//! sentences of the gateway. Simulators and tests, at the other end of the wire, use [`GatewayDecoder`] and
//! [`encode_device`]. Everything is synchronous and pure: no socket, no clock, no session and no log. What a sentence
//! *does* (when it is allowed, what is stored, what is answered) is decided in `device::conversation`.
//!
//! Top-down: `decoder` picks the dialect; `text` and `json` find the beginning and end of a sentence; `sentence` is the
//! grammar that both share; `buffer` holds the bytes of an incomplete sentence; `bad_input` has the reasons why input
//! is refused.

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
pub use gateway_decoder::{GatewayDecoded, GatewayDecoder};

use crate::domain::{DeviceId, DeviceSentence};

/// The encoding of sentences on one connection. The first non-blank byte from the device decides it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// The sentences themselves. A device may end one with a newline or with nothing; the gateway writes a newline.
    Text,
    /// One JSON object for each sentence, without a delimiter.
    Json,
}

/// The largest input of one connection. Checked before memory is allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The longest sentence, in bytes. Only repeated spaces make one longer than about 200 bytes.
    pub sentence: usize,
    /// The largest debug blob, in bytes.
    pub blob: usize,
}

impl Limits {
    /// The size of an envelope, in bytes: keys, ids and white space take about 150, the rest is for unknown keys.
    const ENVELOPE: usize = 1024;

    /// The largest JSON object, in bytes: that of the largest blob, each byte of which takes up to three digits and a
    /// comma.
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

/// The next result of a [`Decoder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decoded {
    /// Nothing more is complete: push more bytes.
    Incomplete,
    /// A sentence, whole and in range.
    Message(DeviceMessage),
    /// One bad sentence. The decoder continues after it.
    Bad(BadInput),
    /// A debug blob or JSON object above its cap: reply that it is bad, then close.
    ///
    /// The decoder drops all further input, because bytes of a blob must never be read as sentences.
    TooLarge(BadInput),
}

/// A sentence of a device with the fields of its envelope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceMessage {
    /// The sentence.
    pub sentence: DeviceSentence,
    /// The `clientId` of a JSON envelope, if there is one.
    pub client_id: Option<DeviceId>,
    /// Whether the type of a JSON envelope is `reply` or `message`, which matters for `FINE.` only. None for any other
    /// type, and in text.
    pub is_reply: Option<bool>,
}

impl From<DeviceSentence> for DeviceMessage {
    fn from(sentence: DeviceSentence) -> Self {
        Self {
            sentence,
            client_id: None,
            is_reply: None,
        }
    }
}

/// Whether `byte` is white space that may stand between sentences and objects: ASCII only, and NUL, with which some
/// devices end their texts.
fn is_blank(byte: u8) -> bool {
    matches!(
        byte,
        b'\0' | b' ' | b'\t' | b'\r' | b'\n' | b'\x0b' | b'\x0c'
    )
}

/// The number of blanks that `bytes` begins with.
fn blanks(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| is_blank(**byte)).count()
}
