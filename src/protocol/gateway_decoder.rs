//! From bytes to what the gateway says: the mirror of `encode`, for the other end of the wire.

use std::borrow::Cow;

use serde::Deserialize;
use uuid::Uuid;

use super::{BadInput, blanks, buffer::Buffer, encode::gateway_words};
use crate::domain::GatewaySentence;

/// Finds the sentences in what a gateway sends, whatever the dialect.
///
/// There is no dialect to be decided: a text device that is slow to speak hears the `connected`
/// object first. Whatever begins with `{` is an object and ends where its braces balance; anything
/// else is a line. Push a chunk, then take [`next`](Self::next) until it is
/// [`Heard::Incomplete`].
#[derive(Default)]
pub struct GatewayDecoder {
    buffer: Buffer,
    /// The rest of a line that was not understood is dropped.
    skipping: bool,
}

/// What a [`GatewayDecoder`] makes of the bytes it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Heard {
    /// Nothing (more) is complete: push more bytes.
    Incomplete,
    /// The object that greets JSON devices.
    Connected {
        /// The instance that greets.
        server_id: Uuid,
    },
    /// A sentence.
    Sentence {
        /// What the gateway said.
        sentence: GatewaySentence,
        /// JSON: the `serverId`, which commands have. Text: always `None`.
        server_id: Option<Uuid>,
    },
    /// Nothing that a gateway says: how it begins, any byte among it. The decoder goes on behind
    /// the line, or the object, that it is.
    NotUnderstood(Vec<u8>),
}

impl GatewayDecoder {
    /// The longest line or object, in bytes: many times what a gateway says.
    const LONGEST: usize = 4 * 1024;

    /// Takes in what the socket returned.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.push(bytes, Self::LONGEST);
    }

    /// What the bytes held so far amount to next. To be called after every [`push`](Self::push)
    /// until it returns [`Heard::Incomplete`].
    #[expect(
        clippy::should_implement_trait,
        reason = "`Incomplete` is a pause, not the end of an iteration"
    )]
    pub fn next(&mut self) -> Heard {
        self.drop_useless();
        let pending = self.buffer.pending();
        let seen = &pending[..pending.len().min(Self::LONGEST)];
        let found = match seen.first() {
            None => None,
            Some(b'{') => object(seen),
            Some(_) => line(seen),
        };
        match found {
            Some((heard, len)) => {
                self.skipping = len.is_none();
                self.buffer.consume(len.unwrap_or(0));
                heard
            }
            None if seen.len() < Self::LONGEST => {
                self.buffer.settle();
                Heard::Incomplete
            }
            None => {
                self.skipping = true;
                not_understood(seen)
            }
        }
    }

    /// Blanks, and the rest of what was not understood.
    fn drop_useless(&mut self) {
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

/// What was found and its length; without a length it ends with the line.
type Found = Option<(Heard, Option<usize>)>;

/// The line that `bytes` begin with, once it is complete.
fn line(bytes: &[u8]) -> Found {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let heard = match str::from_utf8(&bytes[..end]).ok().and_then(sentence) {
        Some(sentence) => Heard::Sentence {
            sentence,
            server_id: None,
        },
        None => not_understood(&bytes[..end]),
    };
    Some((heard, Some(end)))
}

/// The object that `bytes` begin with, once it is complete or known to be none.
fn object(bytes: &[u8]) -> Found {
    let mut objects = serde_json::Deserializer::from_slice(bytes).into_iter::<Envelope>();
    match objects.next()? {
        Ok(envelope) => {
            let len = objects.byte_offset();
            let heard = envelope.heard().unwrap_or(not_understood(&bytes[..len]));
            Some((heard, Some(len)))
        }
        Err(error) if error.is_eof() => None,
        Err(_) => Some((not_understood(bytes), None)),
    }
}

fn not_understood(bytes: &[u8]) -> Heard {
    Heard::NotUnderstood(bytes[..bytes.len().min(BadInput::EXCERPT)].to_vec())
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "serverId")]
    server_id: Option<Uuid>,
}

impl Envelope<'_> {
    fn heard(&self) -> Option<Heard> {
        let server_id = self.server_id;
        if self.kind == "connected" {
            return server_id.map(|server_id| Heard::Connected { server_id });
        }
        sentence(&self.message).map(|sentence| Heard::Sentence {
            sentence,
            server_id,
        })
    }
}

/// The replies, the frequent ones first.
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

/// The one sentence that `words` are, white space around them aside.
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
