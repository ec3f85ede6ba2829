//! What a receiver's answer means.

use std::time::{Duration, SystemTime};

use reqwest::{
    Response, StatusCode,
    header::{HeaderMap, RETRY_AFTER},
};
use tokio::time::{Instant, timeout_at};

/// What is kept of an answer's body, so that an operator sees what the receiver had to say.
const KEPT: usize = 1 << 10;
/// A cut through a character leaves at most so many bytes of it.
const SPLIT: usize = 3;
/// A body up to this size is read to its end, which lets the connection be used again; a larger one costs more than a
/// new connection does.
const DRAINED: usize = 16 << 10;
/// The longest that a receiver may have messages wait.
const LONGEST_RETRY_AFTER: Duration = Duration::from_hours(24);

/// What came of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver has it: 2xx.
    Delivered,
    /// The receiver wants no message any more: 410.
    Gone,
    /// Anything else.
    Failed {
        /// How long the receiver wants to be left alone (429 and 503), a day at most.
        retry_after: Option<Duration>,
        /// The trouble is the endpoint's, and other messages would fare no better; otherwise it may be this message's.
        is_endpoint: bool,
        /// What went wrong, for an operator.
        error: String,
    },
}

impl Outcome {
    /// What the head of an answer means. The body does not matter.
    pub(super) fn of(status: StatusCode, headers: &HeaderMap) -> Self {
        if status.is_success() {
            return Self::Delivered;
        }
        if status == StatusCode::GONE {
            return Self::Gone;
        }
        let is_busy = status == StatusCode::TOO_MANY_REQUESTS;
        let wants_pause = is_busy || status == StatusCode::SERVICE_UNAVAILABLE;
        let code = status.as_u16();
        Self::Failed {
            retry_after: wants_pause
                .then(|| retry_after(headers, SystemTime::now()))
                .flatten(),
            is_endpoint: is_busy || status.is_server_error(),
            error: if status.is_redirection() {
                format!("answered {code}; redirects are not followed")
            } else {
                format!("answered {code}")
            },
        }
    }
}

/// Seconds, or a date, as RFC 9110 has it.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let asked = if is_number {
        // What is no u64 is a number all the same.
        text.parse().map_or(Duration::MAX, Duration::from_secs)
    } else {
        let date = httpdate::parse_http_date(text).ok()?;
        // One that has passed: at once.
        date.duration_since(now).unwrap_or_default()
    };
    Some(asked.min(LONGEST_RETRY_AFTER))
}

/// The first bytes of the body that arrive in time, at most 1 KiB, as text that every database takes.
pub(super) async fn beginning(mut response: Response, deadline: Instant) -> String {
    let mut kept = Vec::new();
    let mut length = 0;
    // A body that is late, broken or too long ends where it is: the connection then closes with the response.
    while let Ok(Ok(Some(chunk))) = timeout_at(deadline, response.chunk()).await {
        let missing = KEPT + SPLIT - kept.len();
        kept.extend_from_slice(&chunk[..chunk.len().min(missing)]);
        length += chunk.len();
        if length > DRAINED {
            break;
        }
    }
    text(&kept)
}

fn text(bytes: &[u8]) -> String {
    // PostgreSQL has no text with a NUL.
    let mut text = String::from_utf8_lossy(bytes).replace('\0', "\u{fffd}");
    text.truncate(text.floor_char_boundary(KEPT));
    text
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
    fn retry_after_is_seconds_or_a_date_and_a_day_at_most() {
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
            let outcome = Outcome::of(StatusCode::from_u16(status).unwrap(), &headers);
            let Outcome::Failed { retry_after, .. } = outcome else {
                panic!("{status} is {outcome:?}");
            };
            let pause = [429, 503]
                .contains(&status)
                .then_some(Duration::from_secs(7));
            assert_eq!(retry_after, pause, "{status}");
        }
    }

    #[test]
    fn what_is_kept_is_text_of_a_kibibyte_at_most() {
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
