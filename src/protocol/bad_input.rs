//! What was wrong with bytes that were not understood.

use std::fmt;

use super::Decoded;
use crate::domain::{InvalidDeviceId, OutOfRange};

/// One bad sentence: why, and a piece of it for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadInput {
    /// What was wrong and what would be right.
    pub reason: BadReason,
    /// How it begins, at most [`BadInput::EXCERPT`] bytes and any value among them: whoever
    /// prints it must escape it.
    ///
    /// Of garbage it shows as much of the line as has arrived, so this field alone may depend on
    /// how the input was split.
    pub excerpt: Vec<u8>,
}

/// Why a sentence is bad. Displayed, it says what was wrong and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadReason {
    /// No sentence begins with such a byte.
    UnknownSentence,
    /// The sentence went on as none does.
    Malformed {
        /// The first byte that does not fit, counted from the sentence's first, which is 0.
        at: usize,
        /// The sentence it could have become.
        expected: &'static str,
    },
    /// Not complete within the cap for sentences.
    TooLong {
        /// The cap in bytes.
        limit: usize,
    },
    /// The right shape, but a value out of its range.
    OutOfRange(OutOfRange),
    /// The right shape, but an id that no device may have; or such a `clientId`.
    InvalidDeviceId,
    /// A debug blob was announced that is larger than the cap.
    BlobTooLarge {
        /// As announced; `u64::MAX` stands for anything larger too.
        size: u64,
        /// The cap in bytes.
        limit: usize,
    },
    /// JSON: an object larger than any sentence or blob needs.
    ObjectTooLarge {
        /// The cap in bytes.
        limit: usize,
    },
    /// JSON: something other than white space between two objects.
    BetweenObjects,
    /// JSON: an object that cannot be read, with the parser's words for it.
    NotJson(String),
    /// JSON: an object whose `message` is missing or not a string.
    NoMessage,
    /// JSON: the `message` ends before its sentence does.
    Unfinished {
        /// The sentence it could have become.
        expected: &'static str,
    },
    /// JSON: the `message` goes on after its sentence.
    MoreThanOneSentence,
    /// JSON: the blob has not as many bytes as announced.
    BlobCount {
        /// As announced.
        announced: u64,
        /// As found.
        found: u64,
    },
    /// JSON: something in the blob that is not a byte value.
    BlobByte,
}

impl BadInput {
    /// The longest excerpt, in bytes.
    pub const EXCERPT: usize = 80;

    pub(super) fn new(reason: BadReason, input: &[u8]) -> Self {
        Self {
            reason,
            excerpt: input[..input.len().min(Self::EXCERPT)].to_vec(),
        }
    }
}

/// Only what is above a cap ends the connection.
impl From<BadInput> for Decoded {
    fn from(bad: BadInput) -> Self {
        match bad.reason {
            BadReason::BlobTooLarge { .. } | BadReason::ObjectTooLarge { .. } => {
                Self::TooLarge(bad)
            }
            _ => Self::Bad(bad),
        }
    }
}

impl From<OutOfRange> for BadReason {
    fn from(error: OutOfRange) -> Self {
        Self::OutOfRange(error)
    }
}

impl From<InvalidDeviceId> for BadReason {
    fn from(_: InvalidDeviceId) -> Self {
        Self::InvalidDeviceId
    }
}

impl fmt::Display for BadReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownSentence => f.write_str(
                "no sentence begins like this; a device says HELLO, PING, REPORT, WTF, GOTTA GO, \
                 FINE, KEEP ME POSTED, DONE, I CAN'T, SURE or SEE YA, in upper case",
            ),
            Self::Malformed { at, expected } => {
                write!(
                    f,
                    "character {} does not fit; the sentence was taken for: {expected}",
                    at + 1
                )
            }
            Self::TooLong { limit } => {
                write!(f, "a sentence is complete within {limit} bytes")
            }
            Self::OutOfRange(error) => error.fmt(f),
            Self::InvalidDeviceId => InvalidDeviceId.fmt(f),
            Self::BlobTooLarge { size, limit } => write!(
                f,
                "a debug blob of {size} bytes was announced; at most {limit} are taken"
            ),
            Self::ObjectTooLarge { limit } => {
                write!(f, "a JSON object ends within {limit} bytes")
            }
            Self::BetweenObjects => {
                f.write_str("only white space and JSON objects are understood on this connection")
            }
            Self::NotJson(error) => write!(f, "not a JSON object in UTF-8: {error}"),
            Self::NoMessage => {
                f.write_str("a JSON object has a sentence as its `message`, a string")
            }
            Self::Unfinished { expected } => {
                write!(f, "the message ends before its sentence does: {expected}")
            }
            Self::MoreThanOneSentence => {
                f.write_str("a message is one sentence; this one goes on after it")
            }
            Self::BlobCount { announced, found } => write!(
                f,
                "a debug blob of {announced} bytes was announced and {found} came"
            ),
            Self::BlobByte => f.write_str(
                "the bytes of a debug blob are decimal numbers from 0 to 255 joined by commas",
            ),
        }
    }
}
