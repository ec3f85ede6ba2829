//! Explains what a device sends: what the gateway takes it for, or why it is bad, in the words of its log.

use std::fmt::Write as _;

use bytes::BytesMut;

use crate::{
    domain::DeviceSentence,
    protocol::{
        BadInput, BadReason, Decoded, Decoder, DeviceMessage, Dialect, Limits, encode_device,
    },
};

/// The explanation of some input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explanation {
    /// For people: at least one line for each sentence.
    pub text: String,
    /// Whether all of it are whole sentences of a device.
    pub is_good: bool,
}

/// Explains `input` as what one device sends on one connection, with the default limits. What a sentence leads to
/// depends on those before it (a login comes first) and is not explained.
#[must_use]
pub fn explain(input: &[u8]) -> Explanation {
    let mut decoder = Decoder::new(Limits::default());
    decoder.push(input);
    let mut explanation = Explanation {
        text: String::new(),
        is_good: true,
    };
    loop {
        match decoder.next() {
            Decoded::Message(message) => explanation.good(&message),
            Decoded::Bad(bad) => explanation.bad(&bad),
            Decoded::TooLarge(bad) => {
                explanation.bad(&bad);
                explanation.line("the gateway would close the connection");
                break;
            }
            Decoded::Incomplete => break,
        }
    }
    if let Some(expected) = decoder.expected() {
        explanation.incomplete(&expected);
    } else if explanation.text.is_empty() {
        explanation.incomplete("a sentence such as PING.");
    }
    explanation
}

impl Explanation {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn good(&mut self, message: &DeviceMessage) {
        let said = match &message.sentence {
            DeviceSentence::DebugBlob(blob) => format!("a debug blob of {} bytes", blob.len()),
            sentence => {
                let mut text = BytesMut::new();
                let message = DeviceMessage::from(sentence.clone());
                encode_device(&message, Dialect::Text, None, &mut text);
                String::from_utf8_lossy(&text).trim_end().to_owned()
            }
        };
        self.line(&format!("good: {said}"));
    }

    fn bad(&mut self, bad: &BadInput) {
        self.is_good = false;
        self.line(&format!("bad: {}", bad.reason));
        self.line(&format!("  {}", shown(&bad.excerpt)));
        if let BadReason::Malformed { at, .. } = bad.reason
            && at < bad.excerpt.len()
        {
            let column = shown(&bad.excerpt[..at]).len();
            // Writing to a string does not fail.
            let _written = writeln!(self.text, "  {:column$}^", "");
        }
    }

    fn incomplete(&mut self, expected: &str) {
        self.is_good = false;
        self.line(&format!(
            "incomplete: more has to come; expected: {expected}"
        ));
    }
}

/// The bytes as ASCII, with escapes for what is not printable.
fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for &byte in bytes {
        if byte == b' ' || byte.is_ascii_graphic() {
            text.push(byte.into());
        } else {
            text.extend(byte.escape_ascii().map(char::from));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_good_sentence_is_shown_as_it_was_understood() {
        for (input, text) in [
            ("PING.", "good: PING.\n"),
            (" HELLO,   I'M  truck-7!\r\n", "good: HELLO, I'M truck-7!\n"),
            ("PING.PING.", "good: PING.\ngood: PING.\n"),
            ("WTF! 3\nabc", "good: a debug blob of 3 bytes\n"),
            (
                r#"{"message":"REPORT. I'M HERE 1.50 -0, RESTING AND CHARGED AT 007%."}"#,
                "good: REPORT. I'M HERE 1.5 0, RESTING AND CHARGED AT 7%.\n",
            ),
        ] {
            let text = text.to_owned();
            let is_good = true;
            assert_eq!(explain(input.as_bytes()), Explanation { text, is_good });
        }
    }

    #[test]
    fn a_bad_sentence_is_explained_in_the_words_of_the_log() {
        for (input, text) in [
            (
                "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 47.5%.",
                "bad: character 48 does not fit; the sentence was taken for: \
                 REPORT. I'M HERE <lat> <lon>, <RESTING|RUNNING> AND CHARGED AT <battery>%.\n  \
                 REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 47.5%.\n  \
                 \u{20}                                              ^\n",
            ),
            (
                "HELLO, I'M tr\u{fc}ck!",
                "bad: character 14 does not fit; the sentence was taken for: HELLO, I'M <device_id>!\n  \
                 HELLO, I'M tr\\xc3\\xbcck!\n  \
                 \u{20}            ^\n",
            ),
            (
                "KEEP ME POSTED EVERY 5 SECONDS.",
                "bad: report interval must be 10 to 3600 seconds, or 0 to stop the reports\n  \
                 KEEP ME POSTED EVERY 5 SECONDS.\n",
            ),
            (
                "ping.\nPING.",
                "bad: no sentence begins like this; a device says HELLO, PING, REPORT, WTF, GOTTA GO, \
                 FINE, KEEP ME POSTED, DONE, I CAN'T, SURE or SEE YA, in upper case\n  ping.\ngood: PING.\n",
            ),
            (
                "WTF! 9999999\n",
                "bad: a debug blob of 9999999 bytes was announced; at most 1048576 are taken\n  \
                 WTF! 9999999\\n\nthe gateway would close the connection\n",
            ),
        ] {
            let explained = explain(input.as_bytes());
            assert_eq!(explained.text, text, "{input}");
            assert!(!explained.is_good);
        }
    }

    #[test]
    fn what_is_missing_is_said() {
        for (input, expected) in [
            ("PING", "PING."),
            ("REPORT. I'M HERE 1", "REPORT. I'M HERE <lat> <lon>"),
            (
                "WTF! 5\nab",
                "5 bytes of the debug blob, of which 2 have come",
            ),
            ("WTF! 0", "WTF! <n>, a newline and n bytes"),
            (r#"{"message":"PING.""#, "the end of the JSON object"),
            (" ", "a sentence such as PING."),
        ] {
            let explained = explain(input.as_bytes());
            assert!(
                explained.text.contains(expected),
                "{input}: {}",
                explained.text
            );
            assert!(explained.text.starts_with("incomplete: "), "{input}");
            assert!(!explained.is_good);
        }
    }
}
