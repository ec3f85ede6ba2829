//! The headers by which a receiver knows a message: Standard Webhooks 1.0.0.

use reqwest::header::{HeaderMap, HeaderValue, InvalidHeaderValue};

use super::Secret;

/// The header of a message's id, which is the same in every attempt.
pub const ID: &str = "webhook-id";
/// The header of an attempt's time, in seconds since 1970.
pub const TIMESTAMP: &str = "webhook-timestamp";
/// The header of the signatures, with a space between them.
pub const SIGNATURE: &str = "webhook-signature";

/// The three headers of an attempt. While a receiver changes from one secret to the next, both sign; it accepts the
/// message if it knows either.
///
/// # Errors
///
/// The id cannot stand in a header.
pub(super) fn headers<'a>(
    id: &str,
    timestamp: i64,
    body: &[u8],
    secrets: impl IntoIterator<Item = &'a Secret>,
) -> Result<HeaderMap, InvalidHeaderValue> {
    let signatures: Vec<_> = secrets
        .into_iter()
        .map(|secret| secret.sign(id, timestamp, body))
        .collect();
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ID, HeaderValue::from_str(id)?);
    headers.insert(TIMESTAMP, HeaderValue::from(timestamp));
    headers.insert(SIGNATURE, HeaderValue::from_str(&signatures.join(" "))?);
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use standardwebhooks::Webhook;

    use super::*;

    const MESSAGE: &str = "msg_0192f0c1";
    const BODY: &[u8] = "{\"type\":\"vehicle.online\",\"note\":\"grün\"}".as_bytes();

    fn now() -> i64 {
        let seconds = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap()
            .as_secs();
        i64::try_from(seconds).unwrap()
    }

    fn accepts(secret: &Secret, headers: &HeaderMap, body: &[u8]) -> bool {
        let receiver = Webhook::new(&secret.to_text()).unwrap();
        receiver.verify(body, headers).is_ok()
    }

    #[test]
    fn a_receiver_accepts_what_is_signed_and_nothing_else() {
        let secret = Secret::generate().unwrap();
        let headers = headers(MESSAGE, now(), BODY, [&secret]).unwrap();
        assert!(accepts(&secret, &headers, BODY));
        assert!(!accepts(
            &secret,
            &headers,
            b"{\"type\":\"vehicle.offline\"}"
        ));
        assert!(!accepts(&Secret::generate().unwrap(), &headers, BODY));
        let mut other = headers.clone();
        other.insert(ID, HeaderValue::from_static("msg_0192f0c2"));
        assert!(!accepts(&secret, &other, BODY));
    }

    #[test]
    fn while_there_are_two_secrets_a_receiver_needs_to_know_only_one() {
        let [new, old, unknown] = [(); 3].map(|()| Secret::generate().unwrap());
        let headers = headers(MESSAGE, now(), BODY, [&new, &old]).unwrap();
        assert!(accepts(&new, &headers, BODY));
        assert!(accepts(&old, &headers, BODY));
        assert!(!accepts(&unknown, &headers, BODY));
        let signatures: Vec<_> = headers[SIGNATURE].to_str().unwrap().split(' ').collect();
        assert_eq!(signatures.len(), 2);
    }

    #[test]
    fn an_id_that_would_end_its_header_is_refused() {
        let secret = Secret::generate().unwrap();
        assert!(headers("msg\r\nhost: other", 0, BODY, [&secret]).is_err());
    }
}
