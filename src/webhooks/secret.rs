//! Secrets of endpoints, which sign their messages (Standard Webhooks 1.0.0).
//!
//! Signed here and not by the crate `standardwebhooks`: that would replace three lines with an HMAC and a base64 of its
//! own beside those that are linked already, and the tests check our signatures against it as an independent
//! implementation.

use std::fmt;

use base64::{Engine, prelude::BASE64_STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// Begins every secret, so that leaked ones are recognized.
const PREFIX: &str = "whsec_";
/// The shortest key that Standard Webhooks allows, in bytes.
const MIN_BYTES: usize = 24;
/// The longest key that Standard Webhooks allows, in bytes.
const MAX_BYTES: usize = 64;
/// The length of a generated key, in bytes: that of the output of HMAC-SHA256.
const GENERATED_BYTES: usize = 32;

/// Key that signs an endpoint's messages. Its `Debug` output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

/// A secret is not valid, or cannot be generated. The text does not repeat the secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The prefix is missing.
    #[error("a secret begins with \"{PREFIX}\"")]
    Prefix,
    /// The rest is not base64.
    #[error("what follows \"{PREFIX}\" is not base64 (of the standard alphabet, with padding)")]
    Base64,
    /// The key is too short or too long.
    #[error("a secret has {MIN_BYTES} to {MAX_BYTES} bytes, and this one {0}")]
    Length(usize),
    /// The operating system provides no random bytes.
    #[error("the operating system provides no random bytes: {0}")]
    NoRandomness(getrandom::Error),
}

impl Secret {
    /// Reads `whsec_` and the base64 of 24 to 64 bytes.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let encoded = text.strip_prefix(PREFIX).ok_or(SecretError::Prefix)?;
        // The error of the library would show a byte of the secret.
        let bytes = BASE64_STANDARD
            .decode(encoded)
            .map_err(|_named| SecretError::Base64)?;
        if !(MIN_BYTES..=MAX_BYTES).contains(&bytes.len()) {
            return Err(SecretError::Length(bytes.len()));
        }
        Ok(Self(bytes))
    }

    /// Generates a secret from random bytes of the operating system.
    pub fn generate() -> Result<Self, SecretError> {
        let mut bytes = vec![0; GENERATED_BYTES];
        getrandom::fill(&mut bytes).map_err(SecretError::NoRandomness)?;
        Ok(Self(bytes))
    }

    /// The text form, for the response that shows it once and for the database. Not for logs.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{PREFIX}{}", BASE64_STANDARD.encode(&self.0))
    }

    /// Returns the signature of a message: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.
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
    fn a_secret_has_24_to_64_bytes_and_keeps_its_text() {
        for count in [24, 25, 32, 64] {
            let text = of_bytes(count);
            assert_eq!(Secret::parse(&text).unwrap().to_text(), text);
        }
        for count in [0, 23, 65] {
            let refused = Secret::parse(&of_bytes(count));
            assert!(matches!(refused, Err(SecretError::Length(length)) if length == count));
        }
    }

    #[test]
    fn an_invalid_secret_is_refused_without_being_repeated() {
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
    fn generated_secrets_are_distinct_and_have_32_bytes() {
        let one = Secret::generate().unwrap();
        let other = Secret::generate().unwrap();
        assert_ne!(one, other);
        assert_eq!(one.0.len(), 32);
        assert_eq!(Secret::parse(&one.to_text()).unwrap(), one);
    }

    #[test]
    fn the_signature_equals_that_of_the_reference_library() {
        // From the tests of that library, in all its languages.
        let secret = Secret::parse("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD").unwrap();
        let body = br#"{"email":"test@example.com","username":"test_user"}"#;
        assert_eq!(
            secret.sign("msg_27UH4WbU6Z5A5EzD8u03UvzRbpk", 1_649_367_553, body),
            "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw="
        );
    }
}
