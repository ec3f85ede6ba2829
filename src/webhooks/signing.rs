//! Signature headers of a message, as Standard Webhooks 1.0.0 defines them.

use reqwest::header::{HeaderMap, HeaderValue, InvalidHeaderValue};

use super::Secret;

/// Header of the message's id, which is the same in every attempt.
pub const ID_HEADER: &str = "webhook-id";
/// Header of the attempt's time, in seconds since 1970.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// Header of the signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// Returns the three headers of an attempt, with a signature by each of the secrets: a receiver accepts the message if
/// it knows one of them.
///
/// # Errors
///
/// The id cannot be the value of a header.
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
    headers.insert(ID_HEADER, HeaderValue::from_str(id)?);
    headers.insert(TIMESTAMP_HEADER, HeaderValue::from(timestamp));
    headers.insert(
        SIGNATURE_HEADER,
        HeaderValue::from_str(&signatures.join(" "))?,
    );
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
    fn a_receiver_accepts_only_the_signed_message() {
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
        other.insert(ID_HEADER, HeaderValue::from_static("msg_0192f0c2"));
        assert!(!accepts(&secret, &other, BODY));
    }

    #[test]
    fn a_receiver_needs_only_one_of_two_secrets() {
        let [new, old, unknown] = [(); 3].map(|()| Secret::generate().unwrap());
        let headers = headers(MESSAGE, now(), BODY, [&new, &old]).unwrap();
        assert!(accepts(&new, &headers, BODY));
        assert!(accepts(&old, &headers, BODY));
        assert!(!accepts(&unknown, &headers, BODY));
        let signatures: Vec<_> = headers[SIGNATURE_HEADER]
            .to_str()
            .unwrap()
            .split(' ')
            .collect();
        assert_eq!(signatures.len(), 2);
    }

    #[test]
    fn an_id_with_a_line_break_is_refused() {
        let secret = Secret::generate().unwrap();
        assert!(headers("msg\r\nhost: other", 0, BODY, [&secret]).is_err());
    }
}
