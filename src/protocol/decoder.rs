//! Decodes the bytes of a device into sentences, in either dialect.

use super::{
    Decoded, Dialect, Limits, blanks, buffer::Buffer, json::JsonFraming, text::TextFraming,
};

/// Decodes the input of one device.
///
/// Push a chunk, then call [`next`](Self::next) until it returns [`Decoded::Incomplete`]. The results do not depend on
/// how the input was split into chunks.
pub struct Decoder {
    limits: Limits,
    buffer: Buffer,
    framing: Framing,
}

/// What some libraries write before the first character of a text.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

enum Framing {
    /// Only blanks, and perhaps a byte order mark or its beginning, have come.
    Undecided,
    Text(TextFraming),
    Json(JsonFraming),
    /// Input exceeded its cap: everything is dropped.
    Closed(Dialect),
}

impl Decoder {
    /// A decoder for a new connection. It allocates nothing until bytes come.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: Buffer::default(),
            framing: Framing::Undecided,
        }
    }

    /// Adds bytes from the socket. White space between sentences and skipped bytes are dropped at once.
    pub fn push(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if self.buffer.is_empty() {
            bytes = &bytes[self.framing.skip(bytes)..];
        }
        if bytes.is_empty() {
            return;
        }
        let bound = match &self.framing {
            Framing::Undecided => self.limits.sentence,
            Framing::Text(text) => text.bound(&self.limits),
            Framing::Json(_) => self.limits.json_object(),
            Framing::Closed(_) => return,
        };
        self.buffer.push(bytes, bound);
    }

    /// The next result. Call it after every [`push`](Self::push) until it returns [`Decoded::Incomplete`].
    #[expect(
        clippy::should_implement_trait,
        reason = "`Incomplete` is a pause, not the end of an iteration"
    )]
    pub fn next(&mut self) -> Decoded {
        let unneeded = self.framing.skip(self.buffer.pending());
        self.buffer.consume(unneeded);
        let decoded = if self.buffer.is_empty() {
            Decoded::Incomplete
        } else {
            self.framing.decide(self.buffer.pending());
            match &mut self.framing {
                Framing::Text(text) => text.next(&mut self.buffer, &self.limits),
                Framing::Json(json) => json.next(&mut self.buffer, &self.limits),
                Framing::Undecided | Framing::Closed(_) => Decoded::Incomplete,
            }
        };
        match decoded {
            Decoded::Incomplete => self.buffer.settle(),
            Decoded::TooLarge(_) => {
                self.buffer = Buffer::default();
                self.framing.close();
            }
            Decoded::Message(_) | Decoded::Bad(_) => {}
        }
        decoded
    }

    /// Stops skipping garbage of the text dialect, so that a device that never sends a newline recovers. Call it after
    /// 200 ms without a byte.
    pub fn quiet(&mut self) {
        let unneeded = self.framing.skip(self.buffer.pending());
        self.buffer.consume(unneeded);
        if let Framing::Text(text) = &mut self.framing {
            text.quiet();
        }
    }

    /// Whether garbage of the text dialect is being skipped. Only then [`quiet`](Self::quiet) has an effect.
    #[must_use]
    pub fn is_skipping(&self) -> bool {
        matches!(&self.framing, Framing::Text(text) if text.is_skipping())
    }

    /// Whether the next bytes belong to a debug blob. In text: between the header and the last byte of the blob. In
    /// JSON: within an object that is longer than any sentence.
    #[must_use]
    pub fn in_blob(&self) -> bool {
        match &self.framing {
            Framing::Text(text) => text.in_blob(),
            Framing::Json(json) => {
                json.in_object() && self.buffer.pending().len() > self.limits.sentence
            }
            Framing::Undecided | Framing::Closed(_) => false,
        }
    }

    /// The dialect, once [`next`](Self::next) has seen the first non-blank byte.
    #[must_use]
    pub fn dialect(&self) -> Option<Dialect> {
        match self.framing {
            Framing::Undecided => None,
            Framing::Text(_) => Some(Dialect::Text),
            Framing::Json(_) => Some(Dialect::Json),
            Framing::Closed(dialect) => Some(dialect),
        }
    }

    /// What is still missing of a sentence that has begun, for people; `None` between sentences, and while garbage is
    /// skipped.
    #[must_use]
    pub fn expected(&self) -> Option<String> {
        match &self.framing {
            Framing::Text(text) => text.expected(self.buffer.pending()),
            Framing::Json(json) if json.in_object() => {
                Some("the end of the JSON object".to_owned())
            }
            Framing::Json(_) | Framing::Undecided | Framing::Closed(_) => None,
        }
    }

    /// Bytes of heap that the input takes: at most the cap of the incomplete sentence and one chunk.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether the device is between sentences: no part of a sentence, object or blob is held, and no garbage is being
    /// skipped.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.buffer.is_empty() && !self.is_skipping() && !self.in_blob()
    }
}

impl Framing {
    /// The number of leading `bytes` that need not be kept.
    fn skip(&mut self, bytes: &[u8]) -> usize {
        match self {
            Self::Undecided => leading(bytes),
            Self::Text(text) => text.skip(bytes),
            Self::Json(json) => json.skip(bytes),
            Self::Closed(_) => bytes.len(),
        }
    }

    /// Decides the dialect by the first bytes that are neither blanks nor a byte order mark.
    fn decide(&mut self, pending: &[u8]) {
        // It may still become a byte order mark.
        if BYTE_ORDER_MARK.starts_with(pending) {
            return;
        }
        if let Self::Undecided = self {
            *self = if pending.first() == Some(&b'{') {
                Self::Json(JsonFraming::default())
            } else {
                Self::Text(TextFraming::default())
            };
        }
    }

    fn close(&mut self) {
        *self = Self::Closed(match self {
            Self::Json(_) => Dialect::Json,
            Self::Undecided | Self::Text(_) => Dialect::Text,
            Self::Closed(dialect) => *dialect,
        });
    }
}

/// The number of blanks that the first `bytes` of a connection begin with, with byte order marks among them.
fn leading(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    loop {
        rest = &rest[blanks(rest)..];
        match rest.strip_prefix(BYTE_ORDER_MARK) {
            Some(after) => rest = after,
            None => return bytes.len() - rest.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{domain::DeviceSentence, protocol::DeviceMessage};

    #[test]
    fn the_first_non_blank_byte_decides_the_dialect() {
        let mut decoder = Decoder::new(Limits::default());
        decoder.push(b" \r\n\t");
        assert_eq!(decoder.next(), Decoded::Incomplete);
        assert_eq!((decoder.dialect(), decoder.buffered()), (None, 0));
        decoder.push(b"P");
        assert_eq!(decoder.next(), Decoded::Incomplete);
        assert_eq!(decoder.dialect(), Some(Dialect::Text));
        decoder.push(br#"ING.{"message":"PING."}"#);
        assert_eq!(
            decoder.next(),
            Decoded::Message(DeviceMessage::from(DeviceSentence::Ping))
        );
        assert!(matches!(decoder.next(), Decoded::Bad(_)));

        let mut decoder = Decoder::new(Limits::default());
        decoder.push(br#"  {"message":"PING."}PING."#);
        assert_eq!(
            decoder.next(),
            Decoded::Message(DeviceMessage::from(DeviceSentence::Ping))
        );
        assert_eq!(decoder.dialect(), Some(Dialect::Json));
        assert!(matches!(decoder.next(), Decoded::Bad(_)));
    }

    #[test]
    fn a_byte_order_mark_before_the_first_sentence_is_skipped() {
        let ping = Decoded::Message(DeviceMessage::from(DeviceSentence::Ping));
        let inputs = [
            ("\u{feff}{\"message\":\"PING.\"}", Dialect::Json),
            ("\r\n\u{feff} {\"message\":\"PING.\"}", Dialect::Json),
            ("\u{feff}PING.", Dialect::Text),
        ];
        for (input, dialect) in inputs {
            for split in 0..input.len() {
                let mut decoder = Decoder::new(Limits::default());
                let (one, other) = input.as_bytes().split_at(split);
                decoder.push(one);
                assert_eq!(decoder.next(), Decoded::Incomplete, "{input} at {split}");
                decoder.push(other);
                assert_eq!(decoder.next(), ping, "{input} at {split}");
                assert_eq!(decoder.dialect(), Some(dialect));
            }
        }
        // Another character that begins with the same byte, and a mark between sentences.
        for (input, bad) in [("\u{ff5b}PING.", 1), ("PING.\u{feff}\nPING.", 1)] {
            let mut decoder = Decoder::new(Limits::default());
            decoder.push(input.as_bytes());
            let found = std::iter::from_fn(|| Some(decoder.next()));
            let found = found.take_while(|it| *it != Decoded::Incomplete);
            assert_eq!(
                found.filter(|it| matches!(it, Decoded::Bad(_))).count(),
                bad
            );
        }
    }

    #[test]
    fn input_after_an_oversized_one_is_dropped() {
        for (input, dialect) in [
            (&b"WTF! 1048577\nPING."[..], Dialect::Text),
            (
                br#"{"message":"WTF! 1048577\n0"}{"message":"PING."}"#,
                Dialect::Json,
            ),
        ] {
            let mut decoder = Decoder::new(Limits::default());
            decoder.push(input);
            assert!(matches!(decoder.next(), Decoded::TooLarge(_)));
            decoder.push(b"PING.");
            assert_eq!(decoder.next(), Decoded::Incomplete);
            assert_eq!(decoder.buffered(), 0);
            assert_eq!(decoder.dialect(), Some(dialect));
        }
    }

    #[test]
    fn the_decoder_is_idle_between_sentences() {
        let mut decoder = Decoder::new(Limits::default());
        assert!(decoder.is_idle());
        for (input, idle) in [
            (&b"PIN"[..], false),
            (b"G.\r\n", true),
            (b"garbage", false),
            (b"\n", true),
            (b"WTF! 2\n", false),
            (b"x", false),
            (b"x", true),
        ] {
            decoder.push(input);
            while decoder.next() != Decoded::Incomplete {}
            assert_eq!(decoder.is_idle(), idle, "{input:?}");
        }
    }
}
