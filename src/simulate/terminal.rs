//! What a typed line means. No terminal is touched here.

use bytes::Bytes;

use crate::{
    domain::{DeviceId, DeviceSentence, VehicleState},
    protocol::{Decoded, Decoder, Limits},
};

/// What can be typed, in one line.
pub(super) const HELP: &str = "type PING, REPORT, ERROR, GOTTA GO or any whole sentence of a vehicle; Ctrl-C says goodbye and ends";

/// The sentence that `line` stands for, if it is not blank; else a hint what would be one.
///
/// `HELLO`, `REPORT` and `FINE` alone are completed with who and how the vehicle is, `ERROR` is a
/// debug blob of the text behind it, and a last `.` or `!` may be left out.
pub(super) fn understand(
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
            Err("not said: the vehicle answers commands by itself, and truthfully".to_owned())
        }
        sentence => Ok(Some(sentence)),
    }
}

/// `line` as the gateway will read it, with the end that may have been left out.
fn whole_sentence(line: &str) -> Result<DeviceSentence, String> {
    let mut reasons = Vec::new();
    for end in ["", ".", "!"] {
        let mut decoder = Decoder::new(Limits::default());
        // What follows a newline would be the next sentence, and there is none.
        decoder.push(format!("{line}{end}\n").as_bytes());
        match decoder.next() {
            Decoded::Message(message) => {
                if decoder.next() == Decoded::Incomplete && decoder.is_idle() {
                    return Ok(message.sentence);
                }
                return Err("not said: one sentence a line".to_owned());
            }
            Decoded::Bad(bad) | Decoded::TooLarge(bad) => reasons.push(bad.reason.to_string()),
            Decoded::Incomplete => reasons.push("the sentence goes on".to_owned()),
        }
    }
    Err(format!("not said: {}", reasons.swap_remove(0)))
}

/// Looks like a sentence in places, because a blob must never be read as one.
fn crash_dump(id: &DeviceId) -> Bytes {
    format!("crash dump of {id}, simulated\r\nPING.\nGOTTA GO.\n\0").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        protocol::{Dialect, Message, encode_device},
        simulate::vehicle::Vehicle,
    };
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn state() -> VehicleState {
        Vehicle::new(None, fastrand::Rng::with_seed(1)).state()
    }

    fn id() -> DeviceId {
        DeviceId::parse("truck").unwrap()
    }

    fn typed(line: &str) -> Result<Option<DeviceSentence>, String> {
        understand(line, &id(), state())
    }

    #[test]
    fn what_is_short_is_completed() {
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
    fn what_is_wrong_gets_a_hint() {
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
            let said = typed(line).unwrap_err();
            assert!(said.contains(hint), "{line}: {said}");
        }
    }

    proptest! {
        #[test]
        fn a_sentence_as_the_vehicle_says_it_is_understood_as_it_is(seed in any::<u64>()) {
            let state = Vehicle::new(None, fastrand::Rng::with_seed(seed)).state();
            let sentence = DeviceSentence::Report(state);
            let mut line = BytesMut::new();
            encode_device(&Message::from(sentence.clone()), Dialect::Text, None, &mut line);
            let line = String::from_utf8(line.to_vec()).unwrap();
            prop_assert_eq!(typed(&line), Ok(Some(sentence)));
        }

        #[test]
        fn any_line_is_a_sentence_or_a_hint(line in any::<String>()) {
            let _either = typed(&line);
        }
    }
}
