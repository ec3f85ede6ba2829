//! Responses of endpoints.

use std::time::{Duration, SystemTime};

use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use tokio::time::{Instant, timeout_at};

use crate::{
    domain::{AttemptOutcome, FailureCause},
    state::LONGEST_RETRY_AFTER,
};

/// Bytes of a response's body that are stored, for operators.
const STORED_BYTES: usize = 1 << 10;
/// A cut through a UTF-8 character leaves at most so many bytes of it.
const SPLIT_CHARACTER_BYTES: usize = 3;
/// A body up to this size is read to its end, so that the connection can be used again; reading more costs more than a
/// new connection.
const DRAINED_BYTES: usize = 16 << 10;
/// Classifies a response by its head: the outcome of the attempt, and why it failed.
pub(super) fn classify(
    status: StatusCode,
    headers: &HeaderMap,
) -> (AttemptOutcome, Option<String>) {
    let code = status.as_u16();
    if status.is_success() {
        return (AttemptOutcome::Delivered, None);
    }
    if status == StatusCode::GONE {
        let error = format!("answered {code}: it wants no messages any more");
        return (AttemptOutcome::Gone, Some(error));
    }
    let is_busy = status == StatusCode::TOO_MANY_REQUESTS;
    let may_ask_for_pause = is_busy || status == StatusCode::SERVICE_UNAVAILABLE;
    let retry_after = may_ask_for_pause
        .then(|| retry_after(headers, SystemTime::now()))
        .flatten();
    let cause = if is_busy || status.is_server_error() {
        FailureCause::Endpoint
    } else {
        FailureCause::Message
    };
    let error = if status.is_redirection() {
        format!("answered {code}; redirects are not followed")
    } else {
        format!("answered {code}")
    };
    (AttemptOutcome::Failed { cause, retry_after }, Some(error))
}

/// Reads the header `Retry-After`: seconds or a date (RFC 9110, section 10.2.3).
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let requested = if is_number {
        // A number that exceeds a u64.
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        // A date that has passed.
        date.duration_since(now).unwrap_or_default()
    };
    Some(requested.min(LONGEST_RETRY_AFTER))
}

/// Reads the beginning of the body until the deadline: at most 1 KiB, as text that every database stores and that does
/// nothing to a terminal.
pub(super) async fn beginning(mut response: Response, deadline: Instant) -> String {
    let mut stored = Vec::new();
    let mut length = 0;
    // A body that is late, broken or too long is cut off: the connection closes with the response.
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        let missing = STORED_BYTES + SPLIT_CHARACTER_BYTES - stored.len();
        stored.extend_from_slice(&chunk[..chunk.len().min(missing)]);
        length += chunk.len();
        if length > DRAINED_BYTES {
            break;
        }
    }
    text(&stored)
}

fn text(bytes: &[u8]) -> String {
    let mut text = printable(&String::from_utf8_lossy(bytes));
    text.truncate(text.floor_char_boundary(STORED_BYTES));
    text
}

/// Replaces control characters in what a server sent, apart from tabs and ends of lines, and characters that change the
/// direction of the text behind them: people read it in a terminal.
pub(super) fn printable(text: &str) -> String {
    let replaced = text.chars().map(|character| match character {
        '\t' | '\n' | '\r' => character,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
        control if control.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    });
    replaced.collect()
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;

    use super::*;

    fn after(value: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        // 1994-11-06, 08:49:37.
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        retry_after(&headers, now)
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_at_most_a_day() {
        let day = Duration::from_hours(24);
        assert_eq!(after("0"), Some(Duration::ZERO));
        assert_eq!(after(" 120 "), Some(Duration::from_mins(2)));
        assert_eq!(after("86401"), Some(day));
        assert_eq!(after("99999999999999999999999999"), Some(day));
        let minute = Some(Duration::from_mins(1));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), minute);
        assert_eq!(after("Sunday, 06-Nov-94 08:50:37 GMT"), minute);
        assert_eq!(after("Sun Nov  6 08:50:37 1994"), minute);
        assert_eq!(after("Sun, 06 Nov 1994 08:49:36 GMT"), Some(Duration::ZERO));
        assert_eq!(after("Mon, 06 Nov 1995 08:49:37 GMT"), Some(day));
        for nonsense in ["", "-1", "1.5", "soon", "+5"] {
            assert_eq!(after(nonsense), None, "{nonsense}");
        }
    }

    #[test]
    fn only_429_and_503_may_ask_for_a_pause() {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_static("7"));
        for status in [301, 400, 404, 429, 500, 502, 503] {
            let (outcome, _) = classify(StatusCode::from_u16(status).unwrap(), &headers);
            let AttemptOutcome::Failed { retry_after, .. } = outcome else {
                panic!("{status} is {outcome:?}");
            };
            let pause = [429, 503]
                .contains(&status)
                .then_some(Duration::from_secs(7));
            assert_eq!(retry_after, pause, "{status}");
        }
    }

    #[test]
    fn control_characters_of_a_receiver_are_replaced() {
        assert_eq!(
            text("\u{1b}[31mred\u{9b}2J\u{7f}\u{202e}\ta\r\nb".as_bytes()),
            "\u{fffd}[31mred\u{fffd}2J\u{fffd}\u{fffd}\ta\r\nb"
        );
    }

    #[test]
    fn the_stored_text_has_at_most_a_kibibyte() {
        assert_eq!(text(b""), "");
        assert_eq!(text("grün".as_bytes()), "grün");
        assert_eq!(text(b"a\0b\xffc"), "a\u{fffd}b\u{fffd}c");
        // The last character would go over the edge.
        let long = format!("{}äää", "a".repeat(1023));
        assert_eq!(text(&long.as_bytes()[..1027]), "a".repeat(1023));
        // Replacements are longer than what they replace.
        assert_eq!(text(&[0xff; 1027]).len(), 1023);
    }
}
