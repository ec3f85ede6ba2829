//! Times in the query: RFC 3339.

use jiff::civil::{DateTime, date};
use schemars::json_schema;

use crate::{domain::Timestamp, http::extract::QueryParameter};

/// A query parameter that [`parse_timestamp`] reads.
pub(crate) fn timestamp_parameter(name: &'static str, description: &'static str) -> QueryParameter {
    QueryParameter {
        name,
        description,
        schema: json_schema!({
            "type": "string",
            "format": "date-time",
            "examples": ["2026-11-23T00:00:00Z"],
        }),
    }
}

const NANOS_PER_MILLI: i128 = 1_000_000;
const NANOS_PER_SECOND: i128 = 1_000_000_000;
const EPOCH: DateTime = date(1970, 1, 1).at(0, 0, 0, 0);

/// Parses an RFC 3339 timestamp and rounds it up to the next millisecond. Stored times have whole milliseconds, so
/// rounding up changes neither what is `>= from` nor what is `< to`.
pub(crate) fn parse_timestamp(text: &str) -> Result<Timestamp, &'static str> {
    if text.contains(' ') {
        return Err("must be an RFC 3339 timestamp; a + in it is written %2B");
    }
    if !has_rfc_3339_shape(text) {
        return Err("must be an RFC 3339 timestamp such as 2026-11-23T02:54:59.050Z");
    }
    let not_existing = "must be an existing instant of the years 0000 to 9999";
    let (date_time, offset) = text.split_at(text.len() - offset_len(text));
    let date_time: DateTime = date_time.parse().map_err(|_| not_existing)?;
    // An instant of jiff ends a day before the year 9999 does, so that each has a date in every time zone.
    let since_1970 = date_time.duration_since(EPOCH).as_nanos();
    let nanos = since_1970 - offset_seconds(offset).ok_or(not_existing)? * NANOS_PER_SECOND;
    let millis =
        nanos.div_euclid(NANOS_PER_MILLI) + i128::from(nanos.rem_euclid(NANOS_PER_MILLI) != 0);
    i64::try_from(millis)
        .map(Timestamp::from_millis)
        .map_err(|_| not_existing)
}

/// The length of the offset at the end of a text with the form of RFC 3339.
fn offset_len(text: &str) -> usize {
    if text.ends_with(['Z', 'z']) {
        "Z".len()
    } else {
        "+00:00".len()
    }
}

/// An offset of RFC 3339 in seconds east of UTC; `None` if it is a day or more.
fn offset_seconds(offset: &str) -> Option<i128> {
    let Some((hours, minutes)) = offset.split_once(':') else {
        return Some(0);
    };
    let (sign, hours) = hours.split_at_checked(1)?;
    let (hours, minutes): (i128, i128) = (hours.parse().ok()?, minutes.parse().ok()?);
    let seconds = (hours < 24 && minutes < 60).then_some(hours * 3600 + minutes * 60)?;
    Some(if sign == "-" { -seconds } else { seconds })
}

/// Whether a text has the form of RFC 3339. jiff also accepts other forms of ISO 8601, which the document excludes.
fn has_rfc_3339_shape(text: &str) -> bool {
    let shaped = |text: &[u8], shape: &[u8]| {
        text.len() == shape.len()
            && text.iter().zip(shape).all(|(byte, like)| match like {
                b'0' => byte.is_ascii_digit(),
                b'T' => byte.eq_ignore_ascii_case(like),
                b'+' => matches!(byte, b'+' | b'-'),
                _ => byte == like,
            })
    };
    let Some((date_time, rest)) = text
        .as_bytes()
        .split_at_checked("0000-00-00T00:00:00".len())
    else {
        return false;
    };
    let offset = match rest {
        [b'.', fraction @ ..] => {
            let digits = fraction.iter().take_while(|b| b.is_ascii_digit()).count();
            if digits == 0 {
                return false;
            }
            &fraction[digits..]
        }
        _ => rest,
    };
    shaped(date_time, b"0000-00-00T00:00:00")
        && (offset.eq_ignore_ascii_case(b"Z") || shaped(offset, b"+00:00"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_rfc_3339_is_accepted_and_rounded_up_to_milliseconds() {
        let millis = |text| parse_timestamp(text).map(Timestamp::as_millis);
        assert_eq!(millis("1970-01-01T00:00:00Z"), Ok(0));
        assert_eq!(millis("1970-01-01t01:00:00.0009+01:00"), Ok(1));
        assert_eq!(millis("1969-12-31T23:59:59.9995z"), Ok(0));
        assert_eq!(millis("1969-12-31T18:30:00-05:30"), Ok(0));
        for bad in [
            "",
            "now",
            "1970-01-01",
            "1970-01-01 00:00:00Z",
            "1970-01-01T00:00:00",
            "1970-01-01T00:00:00.Z",
            "1970-01-01T00:00Z",
            "19700101T000000Z",
            "1970-02-30T00:00:00Z",
            "1970-01-01T24:00:00Z",
            "1970-01-01T00:00:00+24:00",
            "1970-01-01T00:00:00-00:60",
            "1970-01-01T00:00:00Z[UTC]",
            "1970-01-01T00:00:00 01:00",
            "1970-01-01T00:00:00é",
        ] {
            assert!(millis(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn every_instant_of_the_years_0000_to_9999_is_accepted() {
        let day = 86_400_000;
        let (first, last) = (-62_167_219_200_000, 253_402_300_799_000);
        for (text, millis) in [
            ("9999-12-30T23:59:59Z", last - day),
            ("9999-12-31T23:59:59Z", last),
            ("9999-12-31T23:59:59.999999999Z", last + 1000),
            ("9999-12-31T23:59:59+23:59", last - day + 60_000),
            ("9999-12-31T23:59:59-23:59", last + day - 60_000),
            ("0000-01-01T00:00:00Z", first),
            ("0000-01-01T00:00:00+23:59", first - day + 60_000),
            // A leap second is the second before it.
            ("2016-12-31T23:59:60Z", 1_483_228_799_000),
            ("2016-12-31T23:59:59-00:00", 1_483_228_799_000),
        ] {
            let parsed = parse_timestamp(text).map(Timestamp::as_millis);
            assert_eq!(parsed, Ok(millis), "{text}");
        }
    }
}
