//! The plain-text dialect: where a sentence begins and ends when nothing needs to end it.

use super::{
    BadInput, BadReason, Decoded, Limits, blanks,
    buffer::Buffer,
    sentence::{Match, match_sentence},
};
use crate::domain::DeviceSentence;

/// What is expected of a device that speaks plain text.
#[derive(Default)]
pub(super) enum TextFraming {
    /// A sentence, or the rest of the one that is pending.
    #[default]
    Sentence,
    /// Nothing before the next newline, or quiet.
    Garbage,
    /// A debug blob of `size` bytes, as many of them as are not pending yet.
    Blob { size: usize },
}

impl TextFraming {
    /// How many of `bytes`, the next ones, need not be kept.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> usize {
        let mut useless = 0;
        if let Self::Garbage = self {
            let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') else {
                return bytes.len();
            };
            *self = Self::Sentence;
            useless = newline + 1;
        }
        if let Self::Sentence = self {
            useless += blanks(&bytes[useless..]);
        }
        useless
    }

    /// What the first pending byte, which is no blank, and those after it amount to.
    pub(super) fn next(&mut self, buffer: &mut Buffer, limits: &Limits) -> Decoded {
        if let Self::Blob { size } = *self {
            return self.blob(size, buffer);
        }
        let pending = buffer.pending();
        let seen = &pending[..pending.len().min(limits.sentence)];
        match match_sentence(seen, false) {
            Match::NeedMore { .. } if seen.len() < limits.sentence => Decoded::Incomplete,
            Match::NeedMore { .. } => {
                let limit = limits.sentence;
                self.garbage(seen.len(), BadReason::TooLong { limit }, buffer)
            }
            Match::Impossible { at, reason } => self.garbage(at, reason, buffer),
            Match::OutOfRange { len, reason } => {
                let bad = BadInput::new(reason, &pending[..len]);
                buffer.consume(len);
                bad.into()
            }
            Match::Complete { len, sentence } => {
                buffer.consume(len);
                Decoded::Message(sentence.into())
            }
            Match::BlobHeader { len, size } => {
                let limit = limits.blob;
                match usize::try_from(size) {
                    Ok(size) if size <= limit => {
                        buffer.consume(len);
                        *self = Self::Blob { size };
                        self.blob(size, buffer)
                    }
                    _ => {
                        BadInput::new(BadReason::BlobTooLarge { size, limit }, &seen[..len]).into()
                    }
                }
            }
        }
    }

    fn blob(&mut self, size: usize, buffer: &mut Buffer) -> Decoded {
        if buffer.pending().len() < size {
            return Decoded::Incomplete;
        }
        *self = Self::Sentence;
        Decoded::Message(DeviceSentence::DebugBlob(buffer.take(size)).into())
    }

    /// One bad sentence, known as such at its byte `at`, from which on garbage is skipped.
    fn garbage(&mut self, at: usize, reason: BadReason, buffer: &mut Buffer) -> Decoded {
        let pending = buffer.pending();
        let line = &pending[at..];
        let line = line.iter().take_while(|byte| **byte != b'\n').count();
        let bad = BadInput::new(reason, &pending[..at + line]);
        buffer.consume(at);
        *self = Self::Garbage;
        bad.into()
    }

    pub(super) fn quiet(&mut self) {
        if let Self::Garbage = self {
            *self = Self::Sentence;
        }
    }

    pub(super) fn is_skipping(&self) -> bool {
        matches!(self, Self::Garbage)
    }

    pub(super) fn in_blob(&self) -> bool {
        matches!(self, Self::Blob { .. })
    }

    /// What may come to be pending before a sentence or blob is complete or known to be none.
    pub(super) fn bound(&self, limits: &Limits) -> usize {
        match self {
            Self::Sentence | Self::Garbage => limits.sentence,
            Self::Blob { size } => *size,
        }
    }
}

#[cfg(test)]
#[path = "text_tests.rs"]
mod tests;
