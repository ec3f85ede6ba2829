//! Decodes the bytes of a gateway into sentences: the mirror of `encode`, for simulators and tests.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

use super::{BadInput, blanks, buffer::Buffer, encode::gateway_words};
use crate::domain::GatewaySentence;

/// Decodes the input from a gateway, in either dialect.
///
/// The dialect is not fixed: a text device that is slow to log in gets the `connected` object first. Input that begins
/// with `{` is an object and ends where its braces balance; anything else is a line. Push a chunk, then call
/// [`next`](Self::next) until it returns [`GatewayDecoded::Incomplete`].
#[derive(Default)]
pub struct GatewayDecoder {
    buffer: Buffer,
    /// Whether the rest of an invalid line is being dropped.
    skipping: bool,
}

/// The next result of a [`GatewayDecoder`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GatewayDecoded {
    /// Nothing more is complete: push more bytes.
    Incomplete,
    /// The object that greets JSON devices.
    Connected {
        /// The id of the instance that sent it.
        server_id: Uuid,
    },
    /// A sentence.
    Sentence {
        /// The sentence.
        sentence: GatewaySentence,
        /// The `serverId` of a JSON object, which commands have.
        server_id: Option<Uuid>,
    },
    /// A line or an object that no gateway sends, as an excerpt of its first bytes. The decoder continues after it.
    Invalid(Vec<u8>),
}

impl GatewayDecoder {
    /// The longest line or object, in bytes: many times longer than any sentence of a gateway.
    const LONGEST: usize = 4 * 1024;

    /// Adds bytes from the socket.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes, Self::LONGEST);
    }

    /// The next result. Call it after every [`push`](Self::push) until it returns [`GatewayDecoded::Incomplete`].
    #[expect(
        clippy::should_implement_trait,
        reason = "`Incomplete` is a pause, not the end of an iteration"
    )]
    pub fn next(&mut self) -> GatewayDecoded {
        self.drop_unneeded();
        let pending = self.buffer.pending();
        let seen = &pending[..pending.len().min(Self::LONGEST)];
        let found = match seen.first() {
            None => None,
            Some(b'{') => object(seen),
            Some(_) => line(seen),
        };
        match found {
            Some((decoded, len)) => {
                self.skipping = len.is_none();
                self.buffer.consume(len.unwrap_or(0));
                decoded
            }
            None if seen.len() < Self::LONGEST => {
                self.buffer.settle();
                GatewayDecoded::Incomplete
            }
            None => {
                self.skipping = true;
                invalid(seen)
            }
        }
    }

    /// Drops blanks and the rest of an invalid line.
    fn drop_unneeded(&mut self) {
        if self.skipping {
            let pending = self.buffer.pending();
            let end = pending.iter().position(|&byte| byte == b'\n');
            self.skipping = end.is_none();
            self.buffer.consume(end.unwrap_or(pending.len()));
        }
        let blanks = blanks(self.buffer.pending());
        self.buffer.consume(blanks);
    }
}

/// A result and its length in bytes. Without a length it ends with the line.
type Found = Option<(GatewayDecoded, Option<usize>)>;

/// Decodes the line at the beginning of `bytes`, once it is complete.
fn line(bytes: &[u8]) -> Found {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let decoded = match str::from_utf8(&bytes[..end]).ok().and_then(sentence) {
        Some(sentence) => GatewayDecoded::Sentence {
            sentence,
            server_id: None,
        },
        None => invalid(&bytes[..end]),
    };
    Some((decoded, Some(end)))
}

/// Decodes the object at the beginning of `bytes`, once it is complete or invalid.
fn object(bytes: &[u8]) -> Found {
    let mut objects = serde_json::Deserializer::from_slice(bytes).into_iter::<GatewayEnvelope>();
    match objects.next()? {
        Ok(envelope) => {
            let len = objects.byte_offset();
            let decoded = envelope.decoded().unwrap_or(invalid(&bytes[..len]));
            Some((decoded, Some(len)))
        }
        Err(error) if error.is_eof() => None,
        Err(_) => Some((invalid(bytes), None)),
    }
}

fn invalid(bytes: &[u8]) -> GatewayDecoded {
    GatewayDecoded::Invalid(bytes[..bytes.len().min(BadInput::EXCERPT)].to_vec())
}

#[derive(Deserialize)]
struct GatewayEnvelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "serverId")]
    server_id: Option<Uuid>,
}

impl GatewayEnvelope<'_> {
    fn decoded(&self) -> Option<GatewayDecoded> {
        let server_id = self.server_id;
        if self.kind == "connected" {
            return server_id.map(|server_id| GatewayDecoded::Connected { server_id });
        }
        sentence(&self.message).map(|sentence| GatewayDecoded::Sentence {
            sentence,
            server_id,
        })
    }
}

/// All replies, the frequent ones first.
const FIXED: [GatewaySentence; 8] = [
    GatewaySentence::Pong,
    GatewaySentence::Thanks,
    GatewaySentence::Greeting,
    GatewaySentence::SeeYa,
    GatewaySentence::BlobReported,
    GatewaySentence::SureIWill,
    GatewaySentence::Bad,
    GatewaySentence::DontKnowYou,
];

/// Parses `words`, without the white space around them, as one sentence.
fn sentence(words: &str) -> Option<GatewaySentence> {
    let words = words.trim_ascii();
    let fixed = FIXED
        .into_iter()
        .find(|&fixed| gateway_words(fixed) == words);
    fixed.or_else(|| words.parse().map(GatewaySentence::Command).ok())
}

#[cfg(test)]
#[path = "gateway_decoder_tests.rs"]
mod tests;
