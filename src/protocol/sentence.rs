//! The grammar: matches one sentence at the beginning of some bytes.
//!
//! Matching is stateless: an incomplete sentence is matched again from its first byte when more bytes have come. So the
//! result cannot depend on how the bytes were split, and a sentence is short enough for that (at most
//! [`Limits::sentence`](super::Limits)).

use super::BadReason;
use crate::domain::{
    Battery, DeviceId, DeviceSentence, Latitude, Longitude, OutOfRange, ReportInterval, Running,
    VehicleState,
};

/// The result of matching a sentence at the beginning of some bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Match {
    /// The bytes are the beginning of a sentence, whose shape is `expected`.
    NeedMore { expected: &'static str },
    /// A whole sentence of `len` bytes; never a debug blob.
    Complete {
        len: usize,
        sentence: DeviceSentence,
    },
    /// No sentence. `at` is the first byte that fits no sentence; no byte before it is a newline.
    Impossible { at: usize, reason: BadReason },
    /// A whole sentence of `len` bytes with an invalid value.
    OutOfRange { len: usize, reason: BadReason },
    /// `WTF! <size>` and its newline, `len` bytes; the blob follows.
    BlobHeader { len: usize, size: u64 },
}

/// The shapes of sentences, for error messages.
mod shape {
    pub(super) const ANY: &str = "a sentence such as PING.";
    pub(super) const HELLO: &str = "HELLO, I'M <device_id>!";
    pub(super) const REPORT: &str =
        "REPORT. I'M HERE <lat> <lon>, <RESTING|RUNNING> AND CHARGED AT <battery>%.";
    pub(super) const FINE: &str =
        "FINE. I'M HERE <lat> <lon>, <RESTING|RUNNING> AND CHARGED AT <battery>%.";
    pub(super) const WTF: &str = "WTF! <n>, a newline and n bytes";
    pub(super) const KEEP: &str = "KEEP ME POSTED EVERY <s> SECONDS.";
}

/// The most digits of a battery, of seconds and of a blob's size; leading zeros count.
const NUMBER_DIGITS: usize = 20;
/// The most digits of a coordinate before its dot.
const WHOLE_DIGITS: usize = 3;
/// The most digits of a coordinate after its dot.
const DECIMALS: usize = 32;

/// Matches the sentence at the beginning of `bytes`.
///
/// `whole` means that nothing follows `bytes`: then the newline after `WTF! <n>` may be missing.
pub(super) fn match_sentence(bytes: &[u8], whole: bool) -> Match {
    let mut matcher = Matcher {
        bytes,
        at: 0,
        whole,
        expected: shape::ANY,
    };
    match matcher.sentence() {
        Ok(found) => found,
        Err(Stop::NeedMore) => Match::NeedMore {
            expected: matcher.expected,
        },
        Err(Stop::Impossible) => Match::Impossible {
            at: matcher.at,
            reason: if matcher.at == 0 {
                BadReason::UnknownSentence
            } else {
                BadReason::Malformed {
                    at: matcher.at,
                    expected: matcher.expected,
                }
            },
        },
        Err(Stop::OutOfRange(reason)) => Match::OutOfRange {
            len: matcher.at,
            reason,
        },
    }
}

/// Why matching stops before the end of a sentence.
enum Stop {
    NeedMore,
    Impossible,
    OutOfRange(BadReason),
}

impl<E: Into<BadReason>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::OutOfRange(error.into())
    }
}

struct Matcher<'a> {
    bytes: &'a [u8],
    at: usize,
    whole: bool,
    expected: &'static str,
}

impl<'a> Matcher<'a> {
    fn sentence(&mut self) -> Result<Match, Stop> {
        match self.peek()? {
            b'H' => self.hello(),
            b'P' => self.fixed("PING.", DeviceSentence::Ping),
            b'R' => self.state(shape::REPORT, "REPORT.", DeviceSentence::Report),
            b'F' => self.state(shape::FINE, "FINE.", DeviceSentence::Fine),
            b'W' => self.blob_header(),
            b'G' => self.fixed("GOTTA GO.", DeviceSentence::Goodbye),
            b'K' => self.keep_me_posted(),
            b'D' => self.fixed("DONE!", DeviceSentence::Done),
            b'I' => self.fixed("I CAN'T, SORRY.", DeviceSentence::Cannot),
            // The only letter with which two sentences begin.
            b'S' if self.bytes.get(1) == Some(&b'E') => {
                self.fixed("SEE YA!", DeviceSentence::SeeYa)
            }
            b'S' => self.fixed("SURE, I WILL!", DeviceSentence::SureIWill),
            _ => Err(Stop::Impossible),
        }
    }

    fn fixed(&mut self, text: &'static str, sentence: DeviceSentence) -> Result<Match, Stop> {
        self.expected = text;
        self.literal(text)?;
        Ok(self.complete(sentence))
    }

    fn hello(&mut self) -> Result<Match, Stop> {
        self.expected = shape::HELLO;
        self.literal("HELLO, I'M ")?;
        let id = self.run(DeviceId::MAX_LEN, DeviceId::is_id_byte)?;
        self.literal("!")?;
        // Id bytes are ASCII, so the conversion cannot fail.
        let id = DeviceId::parse(str::from_utf8(id).unwrap_or_default())?;
        Ok(self.complete(DeviceSentence::Hello(id)))
    }

    fn state(
        &mut self,
        shape: &'static str,
        opening: &str,
        sentence: fn(VehicleState) -> DeviceSentence,
    ) -> Result<Match, Stop> {
        self.expected = shape;
        self.literal(opening)?;
        self.literal(" I'M HERE ")?;
        let latitude = self.coordinate()?;
        self.literal(" ")?;
        let longitude = self.coordinate()?;
        self.literal(", R")?;
        let running = Running::from(self.peek()? == b'U');
        self.literal(if running.is_running() {
            "UNNING"
        } else {
            "ESTING"
        })?;
        self.literal(" AND CHARGED AT ")?;
        let battery = self.number()?;
        self.literal("%.")?;
        // Values are checked at the end, so that the whole sentence is consumed if one is out of range.
        Ok(self.complete(sentence(VehicleState {
            latitude: latitude.degrees(Latitude::from_digits)?,
            longitude: longitude.degrees(Longitude::from_digits)?,
            running,
            battery: Battery::new(battery)?,
        })))
    }

    fn keep_me_posted(&mut self) -> Result<Match, Stop> {
        self.expected = shape::KEEP;
        self.literal("KEEP ME POSTED EVERY ")?;
        let seconds = self.number()?;
        self.literal(" SECONDS.")?;
        let interval = ReportInterval::new(seconds)?;
        Ok(self.complete(DeviceSentence::KeepMePosted(interval)))
    }

    fn blob_header(&mut self) -> Result<Match, Stop> {
        self.expected = shape::WTF;
        self.literal("WTF! ")?;
        let size = self.number()?;
        if !(self.whole && self.at == self.bytes.len()) {
            if self.peek()? == b'\r' {
                self.at += 1;
            }
            self.literal("\n")?;
        }
        Ok(Match::BlobHeader { len: self.at, size })
    }

    fn complete(&self, sentence: DeviceSentence) -> Match {
        Match::Complete {
            len: self.at,
            sentence,
        }
    }

    fn peek(&self) -> Result<u8, Stop> {
        self.bytes.get(self.at).copied().ok_or(Stop::NeedMore)
    }

    /// Matches `text`. A space matches one or more spaces.
    fn literal(&mut self, text: &str) -> Result<(), Stop> {
        for wanted in text.bytes() {
            if self.peek()? != wanted {
                return Err(Stop::Impossible);
            }
            self.at += 1;
            while wanted == b' ' && self.bytes.get(self.at) == Some(&b' ') {
                self.at += 1;
            }
        }
        Ok(())
    }

    /// Matches one to `max` bytes that pass `fits`. A further one is left for the next match, which fails on it.
    fn run(&mut self, max: usize, fits: fn(u8) -> bool) -> Result<&'a [u8], Stop> {
        let rest = &self.bytes[self.at..];
        let found = rest
            .iter()
            .take(max)
            .take_while(|byte| fits(**byte))
            .count();
        if found == 0 {
            self.peek()?;
            return Err(Stop::Impossible);
        }
        self.at += found;
        Ok(&rest[..found])
    }

    fn digits(&mut self, max: usize) -> Result<&'a [u8], Stop> {
        self.run(max, |byte| byte.is_ascii_digit())
    }

    /// Matches digits as a number. One that is too large for the type becomes its maximum, which is out of every range.
    fn number(&mut self) -> Result<u64, Stop> {
        let digits = self.digits(NUMBER_DIGITS)?;
        Ok(digits.iter().fold(0_u64, |number, digit| {
            number
                .saturating_mul(10)
                .saturating_add(u64::from(digit - b'0'))
        }))
    }

    fn coordinate(&mut self) -> Result<Coordinate<'a>, Stop> {
        let sign = self.peek()?;
        if matches!(sign, b'+' | b'-') {
            self.at += 1;
        }
        let whole = self.digits(WHOLE_DIGITS)?;
        let fraction = if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits(DECIMALS)?
        } else {
            &[]
        };
        Ok(Coordinate {
            negative: sign == b'-',
            whole: whole
                .iter()
                .fold(0, |number, digit| number * 10 + u16::from(digit - b'0')),
            fraction,
        })
    }
}

struct Coordinate<'a> {
    negative: bool,
    whole: u16,
    fraction: &'a [u8],
}

impl Coordinate<'_> {
    fn degrees<T>(
        &self,
        from_digits: fn(bool, u16, &[u8]) -> Result<T, OutOfRange>,
    ) -> Result<T, OutOfRange> {
        from_digits(self.negative, self.whole, self.fraction)
    }
}

#[cfg(test)]
#[path = "sentence_tests.rs"]
mod tests;
