//! The plain-text dialect: the beginning and end of sentences that need no terminator.

use super::{
    BadInput, BadReason, Decoded, Limits, blanks,
    buffer::Buffer,
    sentence::{Match, match_sentence},
};
use crate::domain::DeviceSentence;

/// What is expected next from a plain-text device.
#[derive(Default)]
pub(super) enum TextFraming {
    /// A sentence, or the rest of the pending one.
    #[default]
    Sentence,
    /// Garbage, the rest of a bad sentence: up to the next newline or a pause of the device.
    Garbage,
    /// A debug blob of `size` bytes in all, or the rest of the pending one.
    Blob { size: usize },
}

impl TextFraming {
    /// The number of leading `bytes` that need not be kept.
    pub(super) fn skip(&mut self, bytes: &[u8]) -> usize {
        let mut unneeded = 0;
        if let Self::Garbage = self {
            let Some(newline) = bytes.iter().position(|&byte| byte == b'\n') else {
                return bytes.len();
            };
            *self = Self::Sentence;
            unneeded = newline + 1;
        }
        if let Self::Sentence = self {
            unneeded += blanks(&bytes[unneeded..]);
        }
        unneeded
    }

    /// The next result. The first pending byte must not be a blank.
    pub(super) fn next(&mut self, buffer: &mut Buffer, limits: &Limits) -> Decoded {
        if let Self::Blob { size } = *self {
            return self.blob(size, buffer);
        }
        let pending = buffer.pending();
        let sentence_bytes = &pending[..pending.len().min(limits.sentence)];
        match match_sentence(sentence_bytes, false) {
            Match::NeedMore { .. } if sentence_bytes.len() < limits.sentence => Decoded::Incomplete,
            Match::NeedMore { .. } => {
                let limit = limits.sentence;
                self.garbage(sentence_bytes.len(), BadReason::TooLong { limit }, buffer)
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
                    _ => BadInput::new(
                        BadReason::BlobTooLarge { size, limit },
                        &sentence_bytes[..len],
                    )
                    .into(),
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

    /// Reports a bad sentence whose byte `at` is the first invalid one, and skips garbage from there.
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

    /// What is missing of the sentence or blob that `pending` begins.
    pub(super) fn expected(&self, pending: &[u8]) -> Option<String> {
        match self {
            Self::Garbage => None,
            Self::Blob { size } => Some(format!(
                "{size} bytes of the debug blob, of which {} have come",
                pending.len()
            )),
            Self::Sentence if pending.is_empty() => None,
            Self::Sentence => match match_sentence(pending, false) {
                Match::NeedMore { expected } => Some(expected.to_owned()),
                Match::Complete { .. }
                | Match::Impossible { .. }
                | Match::OutOfRange { .. }
                | Match::BlobHeader { .. } => None,
            },
        }
    }

    /// The largest number of pending bytes before a sentence or blob is complete or refused.
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
