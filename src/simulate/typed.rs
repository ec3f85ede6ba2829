//! Parses the lines that are typed for a device.

use bytes::Bytes;

use crate::{
    domain::{DeviceId, DeviceSentence, VehicleState},
    protocol::{Decoded, Decoder, Limits},
};

/// What can be typed, as one line of help.
pub(super) const HELP: &str = "type PING, REPORT, ERROR, GOTTA GO or any whole sentence of a vehicle; Ctrl-C says goodbye and ends";

/// Parses `line` as a sentence; none if it is blank.
///
/// `HELLO`, `REPORT` and `FINE` alone are completed with the vehicle's id and state, `ERROR` is a debug blob of the
/// text after it, and a last `.` or `!` may be left out.
///
/// # Errors
///
/// A hint for the person who typed it.
pub(super) fn parse_line(
    line: &str,
    id: &DeviceId,
    state: VehicleState,
) -> Result<Option<DeviceSentence>, String> {
    let line = line.trim();
    let (word, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let keyword = word.trim_end_matches(['.', '!']).to_ascii_uppercase();
    let sentence = match (keyword.as_str(), rest.trim()) {
        ("", "") => return Ok(None),
        ("HELLO", "") => DeviceSentence::Hello(id.clone()),
        ("PING", "") => DeviceSentence::Ping,
        ("REPORT", "") => DeviceSentence::Report(state),
        ("FINE", "") => DeviceSentence::Fine(state),
        ("GOTTA", rest) if rest.trim_end_matches(['.', '!']).eq_ignore_ascii_case("go") => {
            DeviceSentence::Goodbye
        }
        ("ERROR" | "WTF", "") => DeviceSentence::DebugBlob(crash_dump(id)),
        ("ERROR", text) => DeviceSentence::DebugBlob(Bytes::copy_from_slice(text.as_bytes())),
        ("WTF", _) => {
            return Err("a debug blob is typed as ERROR, or as ERROR and its text; the bytes are counted for you".to_owned());
        }
        _ => whole_sentence(line)?,
    };
    match sentence {
        DeviceSentence::Done
        | DeviceSentence::Cannot
        | DeviceSentence::SureIWill
        | DeviceSentence::SeeYa => {
            Err("not sent: the vehicle answers commands by itself, and truthfully".to_owned())
        }
        sentence => Ok(Some(sentence)),
    }
}

/// Decodes `line` as the gateway will, and adds the last `.` or `!` if it was left out.
fn whole_sentence(line: &str) -> Result<DeviceSentence, String> {
    let mut reasons = Vec::new();
    for end in ["", ".", "!"] {
        let mut decoder = Decoder::new(Limits::default());
        // The newline completes a debug blob header. After any other sentence it is white space.
        decoder.push(format!("{line}{end}\n").as_bytes());
        match decoder.next() {
            Decoded::Message(message) => {
                if decoder.next() == Decoded::Incomplete && decoder.is_idle() {
                    return Ok(message.sentence);
                }
                return Err("not sent: one sentence a line".to_owned());
            }
            Decoded::Bad(bad) | Decoded::TooLarge(bad) => reasons.push(bad.reason.to_string()),
            Decoded::Incomplete => reasons.push("the sentence is not complete".to_owned()),
        }
    }
    Err(format!("not sent: {}", reasons.swap_remove(0)))
}

/// A crash dump that contains sentences, because a blob must never be read as one.
fn crash_dump(id: &DeviceId) -> Bytes {
    format!("crash dump of {id}, simulated\r\nPING.\nGOTTA GO.\n\0").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::{DeviceMessage, Dialect, encode_device},
        simulate::vehicle::SimulatedVehicle,
    };
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn state() -> VehicleState {
        SimulatedVehicle::new(None, fastrand::Rng::with_seed(1)).state()
    }

    fn id() -> DeviceId {
        DeviceId::parse("truck").unwrap()
    }

    fn typed(line: &str) -> Result<Option<DeviceSentence>, String> {
        parse_line(line, &id(), state())
    }

    #[test]
    fn short_forms_are_completed() {
        for (lines, sentence) in [
            (&["PING", "PING.", " ping "][..], DeviceSentence::Ping),
            (&["REPORT", "report."], DeviceSentence::Report(state())),
            (&["FINE"], DeviceSentence::Fine(state())),
            (&["HELLO"], DeviceSentence::Hello(id())),
            (
                &["HELLO, I'M truck!", "HELLO, I'M truck"],
                DeviceSentence::Hello(id()),
            ),
            (
                &["GOTTA GO.", "GOTTA GO", "gotta go"],
                DeviceSentence::Goodbye,
            ),
            (
                &["ERROR", "WTF!"],
                DeviceSentence::DebugBlob(crash_dump(&id())),
            ),
            (
                &["ERROR  out of coffee "],
                DeviceSentence::DebugBlob("out of coffee".into()),
            ),
        ] {
            for line in lines {
                assert_eq!(typed(line), Ok(Some(sentence.clone())), "{line}");
            }
        }
        assert_eq!(typed("  "), Ok(None));
    }

    #[test]
    fn invalid_lines_get_a_hint() {
        for (line, hint) in [
            ("BANANA", "no sentence begins like this"),
            ("POTATO", "taken for: PING."),
            ("PING. PING.", "one sentence a line"),
            ("PING. POTATO", "one sentence a line"),
            ("WTF! 12", "typed as ERROR"),
            ("DONE!", "by itself"),
            ("HELLO, I'M ..!", "a device id is"),
            ("KEEP ME POSTED EVERY 5 SECONDS.", "10 to 3600"),
            (
                "REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 101%.",
                "0 to 100",
            ),
            ("REPORT. I'M HERE 1", "REPORT. I'M HERE <lat> <lon>"),
        ] {
            let reason = typed(line).unwrap_err();
            assert!(reason.contains(hint), "{line}: {reason}");
        }
    }

    proptest! {
        #[test]
        fn an_encoded_sentence_is_parsed_unchanged(seed in any::<u64>()) {
            let state = SimulatedVehicle::new(None, fastrand::Rng::with_seed(seed)).state();
            let sentence = DeviceSentence::Report(state);
            let mut line = BytesMut::new();
            encode_device(&DeviceMessage::from(sentence.clone()), Dialect::Text, None, &mut line);
            let line = String::from_utf8(line.to_vec()).unwrap();
            prop_assert_eq!(typed(&line), Ok(Some(sentence)));
        }

        #[test]
        fn any_line_is_a_sentence_or_a_hint(line in any::<String>()) {
            let _either = typed(&line);
        }
    }
}
