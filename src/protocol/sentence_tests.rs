//! Unit tests of the grammar: the sentences of docs/protocol.md and their fields.

use super::*;

fn state(latitude: f64, longitude: f64, running: bool, battery: u64) -> VehicleState {
    VehicleState {
        latitude: Latitude::from_f64(latitude).unwrap(),
        longitude: Longitude::from_f64(longitude).unwrap(),
        running: running.into(),
        battery: Battery::new(battery).unwrap(),
    }
}

/// Matches all of `text` as one sentence.
fn understood(text: &str) -> DeviceSentence {
    match match_sentence(text.as_bytes(), false) {
        Match::Complete { len, sentence } if len == text.len() => sentence,
        other => unreachable!("{text:?} was taken for {other:?}"),
    }
}

/// The index of the first byte of `text` that fits no sentence.
fn stops_at(text: &str) -> usize {
    match match_sentence(text.as_bytes(), false) {
        Match::Impossible { at, .. } => at,
        other => unreachable!("{text:?} was taken for {other:?}"),
    }
}

/// The reason why `text`, whose shape is valid, is out of range.
fn out_of_range(text: &str) -> String {
    match match_sentence(text.as_bytes(), false) {
        Match::OutOfRange { len, reason } if len == text.len() => reason.to_string(),
        other => unreachable!("{text:?} was taken for {other:?}"),
    }
}

fn every_sentence() -> Vec<(&'static str, DeviceSentence)> {
    let id = DeviceId::parse("9180af05-0219-4c88-8a95-3da86b130d43").unwrap();
    let here = state(43.62152, 11.463_871_6, true, 47);
    let there = state(-45.021_561_65, -8.0, false, 65);
    let interval = ReportInterval::new(10).unwrap();
    vec![
        (
            "HELLO, I'M 9180af05-0219-4c88-8a95-3da86b130d43!",
            DeviceSentence::Hello(id),
        ),
        ("PING.", DeviceSentence::Ping),
        (
            "REPORT. I'M HERE 43.62152 11.4638716, RUNNING AND CHARGED AT 47%.",
            DeviceSentence::Report(here),
        ),
        (
            "FINE. I'M HERE -45.021561650 -8, RESTING AND CHARGED AT 65%.",
            DeviceSentence::Fine(there),
        ),
        ("GOTTA GO.", DeviceSentence::Goodbye),
        (
            "KEEP ME POSTED EVERY 10 SECONDS.",
            DeviceSentence::KeepMePosted(interval),
        ),
        ("DONE!", DeviceSentence::Done),
        ("I CAN'T, SORRY.", DeviceSentence::Cannot),
        ("SURE, I WILL!", DeviceSentence::SureIWill),
        ("SEE YA!", DeviceSentence::SeeYa),
    ]
}

#[test]
fn every_sentence_is_complete_at_its_last_character() {
    for (text, sentence) in every_sentence() {
        assert_eq!(understood(text), sentence);
        for len in 0..text.len() {
            let part = match_sentence(&text.as_bytes()[..len], false);
            assert!(matches!(part, Match::NeedMore { .. }), "{text:?} at {len}");
        }
        let followed = format!("{text}PING.");
        let expected = Match::Complete {
            len: text.len(),
            sentence,
        };
        assert_eq!(match_sentence(followed.as_bytes(), false), expected);
    }
}

#[test]
fn a_space_may_be_several_spaces_and_nothing_else() {
    for (text, sentence) in every_sentence() {
        assert_eq!(understood(&text.replace(' ', "   ")), sentence);
        for (at, _) in text.match_indices(' ') {
            let (before, after) = text.split_at(at);
            for instead in ["\t", "\r", "\n", "\u{a0}"] {
                let bad = format!("{before}{instead}{}", &after[1..]);
                assert_eq!(stops_at(&bad), at, "{bad:?}");
            }
            // Two numbers without a space between them may go on as one for a while.
            assert!(stops_at(&format!("{before}{}", &after[1..])) >= at);
        }
    }
    assert_eq!(stops_at("PING ."), 4);
    assert_eq!(stops_at("DONE !"), 4);
}

#[test]
fn sentences_are_upper_case_and_exact() {
    for (text, _) in every_sentence() {
        assert_eq!(stops_at(&text.to_lowercase()), 0);
    }
    for (text, at) in [
        ("POTATO", 1),
        ("PING!", 4),
        ("HELLO I'M a!", 5),
        ("HELLO, I’M a!", 8),
        ("SORRY", 1),
        ("SEE YOU", 5),
        ("GOTTA GO\n", 8),
        ("REPORT. I'M HERE 1 2, ROLLING", 23),
        ("REPORT. I'M HERE 1 2 , RESTING", 20),
        ("REPORT. I'M HERE 1 2, RESTING AND CHARGED AT 5 %.", 46),
        ("\0", 0),
    ] {
        assert_eq!(stops_at(text), at, "{text:?}");
    }
}

#[test]
fn a_coordinate_has_a_sign_three_digits_and_32_decimals_at_most() {
    let report = |latitude: &str| {
        understood(&format!(
            "REPORT. I'M HERE {latitude} 180.000, RESTING AND CHARGED AT 0%."
        ))
    };
    for (text, latitude) in [
        ("0", 0.0),
        ("-0", 0.0),
        ("-0.0000000001", 0.0),
        ("+007", 7.0),
        ("90.00000000000000000000000000000000", 90.0),
        ("-90", -90.0),
        ("1.00000000049999999999999999999999", 1.0),
        ("1.0000000005", 1.000_000_001),
    ] {
        let expected = DeviceSentence::Report(state(latitude, 180.0, false, 0));
        assert_eq!(report(text), expected, "{text}");
    }
    let begin = "REPORT. I'M HERE ";
    for (coordinate, at) in [
        ("1234", 3),
        ("--1", 1),
        (" -", 2),
        (".5", 0),
        ("1. 2", 2),
        ("1.000000000000000000000000000000000", 34),
        ("1e5", 1),
        ("NaN", 0),
        ("1,5", 1),
    ] {
        let text = format!("{begin}{coordinate}X");
        assert_eq!(stops_at(&text), begin.len() + at, "{text}");
    }
}

#[test]
fn numbers_have_1_to_20_digits_and_may_have_leading_zeros() {
    let begin = "KEEP ME POSTED EVERY ";
    let hour = ReportInterval::new(3600).unwrap();
    assert_eq!(
        understood(&format!("{begin}{:020} SECONDS.", 3600)),
        DeviceSentence::KeepMePosted(hour)
    );
    assert_eq!(
        stops_at(&format!("{begin}{:021} SECONDS.", 3600)),
        begin.len() + 20
    );
    assert_eq!(stops_at(&format!("{begin}-1")), begin.len());
    assert_eq!(
        understood("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT 00000000000000000100%."),
        DeviceSentence::Report(state(1.0, 2.0, true, 100))
    );
}

#[test]
fn a_value_out_of_range_makes_the_whole_sentence_bad() {
    let report = |place: &str, battery: &str| {
        out_of_range(&format!(
            "REPORT. I'M HERE {place}, RUNNING AND CHARGED AT {battery}%."
        ))
    };
    assert_eq!(report("999 0", "5"), "latitude must be -90 to 90 degrees");
    assert_eq!(
        report("-90.0000000000000000000000000001 0", "5"),
        "latitude must be -90 to 90 degrees"
    );
    assert_eq!(
        report("0 -180.1", "5"),
        "longitude must be -180 to 180 degrees"
    );
    for battery in ["101", "500", "18446744073709551616", "99999999999999999999"] {
        assert!(report("0 0", battery).starts_with("battery must be"));
    }
    for seconds in ["1", "9", "3601", "65546", "99999999999999999999"] {
        let reason = out_of_range(&format!("KEEP ME POSTED EVERY {seconds} SECONDS."));
        assert!(reason.starts_with("report interval must be"), "{reason}");
    }
    for id in [".", ".."] {
        let reason = out_of_range(&format!("HELLO, I'M {id}!"));
        assert!(reason.starts_with("a device id is 1 to 64"), "{reason}");
    }
}

#[test]
fn a_device_id_has_1_to_64_characters() {
    for (said, kept) in [
        ("...", "..."),
        ("__proto__", "__proto__"),
        ("Truck:7.b-c_D", "Truck:7.b-c_D"),
        (
            "9180AF05-0219-4C88-8A95-3DA86B130D43",
            "9180af05-0219-4c88-8a95-3da86b130d43",
        ),
        (&"x".repeat(64), &"x".repeat(64)),
    ] {
        let DeviceSentence::Hello(id) = understood(&format!("HELLO, I'M {said}!")) else {
            unreachable!("HELLO is a Hello");
        };
        assert_eq!(id.as_str(), kept);
    }
    for (text, at) in [
        ("HELLO, I'M !", 11),
        ("HELLO, I'M a b!", 12),
        ("HELLO, I'M a/b!", 12),
        ("HELLO, I'M ä!", 11),
        (&format!("HELLO, I'M {}!", "x".repeat(65)), 75),
    ] {
        assert_eq!(stops_at(text), at, "{text}");
    }
}

#[test]
fn a_blob_header_ends_with_a_newline_or_crlf() {
    for (text, len, size) in [
        ("WTF! 13\nHello, world!", 8, 13),
        ("WTF! 13\r\nHello", 9, 13),
        ("WTF!   0\n", 9, 0),
        ("WTF! 00000000000000000007\n", 26, 7),
        ("WTF! 99999999999999999999\n", 26, u64::MAX),
    ] {
        let expected = Match::BlobHeader { len, size };
        assert_eq!(match_sentence(text.as_bytes(), false), expected, "{text:?}");
        for part in 0..len {
            let part = match_sentence(&text.as_bytes()[..part], false);
            assert!(matches!(part, Match::NeedMore { .. }), "{text:?}");
        }
    }
    for (text, at) in [
        ("WTF! 5 \n", 6),
        ("WTF! 5\rx", 7),
        ("WTF! 5\r\r\n", 7),
        ("WTF! -5\n", 5),
        ("WTF! \n", 5),
        ("WTF! 000000000000000000007\n", 25),
    ] {
        assert_eq!(stops_at(text), at, "{text:?}");
    }
    assert_eq!(
        match_sentence(b"WTF! 0", true),
        Match::BlobHeader { len: 6, size: 0 }
    );
}

#[test]
fn a_reason_names_what_would_be_valid() {
    let Match::Impossible { reason, .. } = match_sentence(b"KEEP ME POSTED EVERY TEN", false)
    else {
        unreachable!("TEN is no number");
    };
    assert_eq!(
        reason.to_string(),
        "character 22 does not fit; the sentence was taken for: KEEP ME POSTED EVERY <s> SECONDS."
    );
}
