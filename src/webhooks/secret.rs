//! What a receiver and the gateway both know, and nobody else.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// How a secret begins, so that it is known for one wherever it is found (Standard Webhooks 1.0.0).
const PREFIX: &str = "whsec_";
/// What Standard Webhooks allows.
const SHORTEST: usize = 24;
const LONGEST: usize = 64;
/// What is drawn: as long as what HMAC-SHA256 makes of it.
const DRAWN: usize = 32;

/// The key by which an endpoint's messages are signed. It shows itself to nobody but who asks for its text.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// Why there is no secret. What was written is not told.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// It may be anything.
    #[error("a secret begins with \"{PREFIX}\"")]
    Prefix,
    /// What follows the prefix cannot be read.
    #[error("what follows \"{PREFIX}\" is not base64 (of the standard alphabet, with padding)")]
    Base64,
    /// Too short is guessed, too long is no better.
    #[error("a secret has {SHORTEST} to {LONGEST} bytes, and this one {0}")]
    Length(usize),
    /// The operating system gave nothing to make one of.
    #[error("the operating system gives no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

impl Secret {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        // The error of the library would name a byte of it.
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_named| SecretError::Base64)?;
        if !(SHORTEST..=LONGEST).contains(&bytes.len()) {
            return Err(SecretError::Length(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// Draws a new one from the operating system.
    pub fn generate() -> Result<Self, SecretError> {
        let mut bytes = vec![0; DRAWN];
        getrandom::fill(&mut bytes).map_err(SecretError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// How it is told, once, to whoever has to know it, and how it is kept. Not for logs.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// The signature of a message: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
    pub(super) fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_bytes(count: usize) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(vec![7; count]))
    }

    #[test]
    fn a_secret_has_24_to_64_bytes_and_is_told_as_it_was_read() {
        for count in [24, 25, 32, 64] {
            let text = of_bytes(count);
            assert_eq!(Secret::parse(&text).unwrap().to_text(), text);
        }
        for count in [0, 23, 65] {
            let refused = Secret::parse(&of_bytes(count));
            assert!(matches!(refused, Err(SecretError::Length(told)) if told == count));
        }
    }

    #[test]
    fn what_is_no_secret_is_refused_without_being_repeated() {
        let valid = of_bytes(32);
        let bare = valid.strip_prefix(PREFIX).unwrap();
        assert!(matches!(Secret::parse(bare), Err(SecretError::Prefix)));
        assert!(matches!(Secret::parse(""), Err(SecretError::Prefix)));
        for text in [
            "whsec_not base64 at all, is it?",
            // Without padding, and of the other alphabet.
            valid.trim_end_matches('='),
            "whsec_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_-_",
        ] {
            let refused = Secret::parse(text).unwrap_err();
            assert!(matches!(refused, SecretError::Base64), "{text}");
            assert!(!format!("{refused} {refused:?}").contains("is it"));
        }
    }

    #[test]
    fn a_secret_does_not_show_itself() {
        let secret = Secret::generate().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(…)");
    }

    #[test]
    fn every_generated_secret_is_another_one_of_32_bytes() {
        let one = Secret::generate().unwrap();
        let other = Secret::generate().unwrap();
        assert_ne!(one, other);
        assert_eq!(one.0.len(), 32);
        assert_eq!(Secret::parse(&one.to_text()).unwrap(), one);
    }

    #[test]
    fn a_message_is_signed_as_the_reference_library_signs_it() {
        // From the tests of that library, in all its languages.
        let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }
}
