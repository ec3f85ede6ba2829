//! Bad input, with the reason and an excerpt.

use std::fmt;

use super::Decoded;
use crate::domain::{InvalidDeviceId, OutOfRange};

/// One bad sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadInput {
    /// The reason, and what would be valid.
    pub reason: BadReason,
    /// The first bytes of the input, at most [`BadInput::EXCERPT`]. They may have any value and must be escaped for
    /// output.
    ///
    /// For garbage it is the part of the line that has arrived, so this field alone may depend on how the input was
    /// split.
    pub excerpt: Vec<u8>,
}

/// Why a sentence is bad. Its text names the mistake and what would be valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BadReason {
    /// No sentence begins with the first byte of the input.
    UnknownSentence,
    /// The beginning of a sentence, followed by a byte that does not fit.
    Malformed {
        /// The index of the first byte that does not fit; the first byte of the sentence is 0.
        at: usize,
        /// The shape of the sentence that it began with.
        expected: &'static str,
    },
    /// The sentence exceeds the cap for sentences.
    TooLong {
        /// The cap in bytes.
        limit: usize,
    },
    /// The shape is valid, but a value is out of its range.
    OutOfRange(OutOfRange),
    /// The shape is valid, but the device id is not; or the `clientId` is not valid.
    InvalidDeviceId,
    /// The announced debug blob exceeds the cap.
    BlobTooLarge {
        /// The announced size in bytes; `u64::MAX` also stands for any larger one.
        size: u64,
        /// The cap in bytes.
        limit: usize,
    },
    /// JSON: the object exceeds the cap, which has room for the largest sentence or blob.
    ObjectTooLarge {
        /// The cap in bytes.
        limit: usize,
    },
    /// JSON: bytes other than white space between two objects.
    BetweenObjects,
    /// JSON: the object cannot be parsed, with the message of the parser.
    NotJson(String),
    /// JSON: the `message` is missing or not a string.
    NoMessage,
    /// JSON: the `message` ends before its sentence does.
    Unfinished {
        /// The shape of the sentence that it began with.
        expected: &'static str,
    },
    /// JSON: the `message` continues after its sentence.
    MoreThanOneSentence,
    /// JSON: the number of bytes is not the announced one.
    BlobCount {
        /// The announced number.
        announced: u64,
        /// The actual number.
        found: u64,
    },
    /// JSON: a value of the blob is not a byte.
    BlobByte,
}

impl BadInput {
    /// The longest excerpt, in bytes.
    pub const EXCERPT: usize = 80;

    /// Whether it is the beginning of an HTTP request, as a web page can have a browser send it to any port.
    #[must_use]
    pub fn is_http_request(&self) -> bool {
        const METHODS: [&str; 8] = [
            "GET", "POST", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE",
        ];
        METHODS.iter().any(|method| {
            let target = self.excerpt.strip_prefix(method.as_bytes());
            target.is_some_and(|target| {
                [&b" /"[..], b" *", b" http"]
                    .iter()
                    .any(|it| target.starts_with(it))
            })
        })
    }

    /// Whether it is the beginning of a TLS handshake: the first record of a client.
    #[must_use]
    pub fn is_tls_handshake(&self) -> bool {
        self.excerpt.starts_with(b"\x16\x03")
    }

    pub(super) fn new(reason: BadReason, input: &[u8]) -> Self {
        Self {
            reason,
            excerpt: input[..input.len().min(Self::EXCERPT)].to_vec(),
        }
    }
}

/// Only input above a cap of blobs or objects closes the connection.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_http_request_is_recognised_by_its_beginning() {
        let is_http = |text: &str| {
            BadInput::new(BadReason::UnknownSentence, text.as_bytes()).is_http_request()
        };
        for text in [
            "GET / HTTP/1.1",
            "POST /",
            "OPTIONS * HTTP/1.1",
            "PUT http://truck/ HTTP/1.1",
        ] {
            assert!(is_http(text), "{text}");
        }
        for text in [
            "",
            "GET",
            "GET ME",
            "POST",
            "PING /",
            "GOTTA GO",
            " GET / HTTP/1.1",
        ] {
            assert!(!is_http(text), "{text}");
        }
    }

    #[test]
    fn a_tls_handshake_is_recognised_by_its_first_record() {
        let is_tls =
            |bytes: &[u8]| BadInput::new(BadReason::UnknownSentence, bytes).is_tls_handshake();
        assert!(is_tls(b"\x16\x03\x01\x02\x00\x01"));
        for bytes in [&b""[..], b"\x16", b"\x16\x02", b"\x17\x03\x03", b"PING."] {
            assert!(!is_tls(bytes), "{bytes:?}");
        }
    }
}
