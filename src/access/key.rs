//! The form of keys: `vgk_<id>_<secret><checksum>`, letters and digits.
//!
//! The prefix lets scanners of repositories find keys that were published by mistake, and with the checksum they know a
//! key from a text that only looks like one. It says nothing about whether a key is right.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

const PREFIX: &str = "vgk_";
const ID: usize = 12;
/// As many as have at least the 256 bits of 32 random bytes.
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of a key. A key has so much randomness that a fast hash suffices: there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// The part of a key that names it: 12 letters and digits. It is no secret.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(String);

impl KeyId {
    /// Makes an id. Fails only if the system has no randomness.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut id = String::with_capacity(ID);
        push_random(&mut id, ID)?;
        Ok(Self(id))
    }

    /// Reads an id; `None` if it has another form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == ID && is_plain(text)).then(|| Self(text.to_owned()))
    }

    /// The id as it stands in its keys.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A key that was just made.
pub struct NewKey(String);

impl NewKey {
    /// Makes a key with a new id. Fails only if the system has no randomness.
    pub fn generate() -> Result<Self, getrandom::Error> {
        Self::with_id(&KeyId::random()?)
    }

    /// Makes a key with this id and a new secret. Fails only if the system has no randomness.
    pub fn with_id(id: &KeyId) -> Result<Self, getrandom::Error> {
        let mut key = format!("{PREFIX}{id}_");
        push_random(&mut key, SECRET)?;
        key.push_str(&checksum(&key));
        Ok(Self(key))
    }

    /// The key itself, to be shown once.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl KeyHash {
    /// The hash of a key.
    #[must_use]
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads a hash in hexadecimal: 64 digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut hash = [0; 32];
        hex::decode_to_slice(text, &mut hash).ok()?;
        Some(Self(hash))
    }

    /// Whether the hashes are equal. Takes as long for each pair.
    #[must_use]
    pub fn equals(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Display for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a request presents as its key: a text with the form and the checksum of one.
#[derive(Debug, Clone)]
pub struct PresentedKey {
    /// Its id.
    pub id: KeyId,
    /// Its hash.
    pub hash: KeyHash,
}

impl PresentedKey {
    /// Reads a key; `None` if the text is none.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_key = secret.len() == SECRET + CHECKSUM
            && is_plain(secret)
            && text.ends_with(&checksum(&text[..text.len() - CHECKSUM]));
        let id = KeyId::parse(id).filter(|_| is_key)?;
        let hash = KeyHash::of(text);
        Some(Self { id, hash })
    }
}

/// The text with the secrets of keys in it masked.
#[must_use]
pub fn mask_keys(text: &str) -> String {
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(PREFIX) {
        let (before, key) = rest.split_at(start + PREFIX.len());
        masked.push_str(before);
        let end_of_id = key.find(|c: char| !c.is_ascii_alphanumeric());
        let (id, after) = key.split_at(end_of_id.unwrap_or(key.len()));
        masked.push_str(id);
        rest = after;
        if let Some(secret) = after.strip_prefix('_') {
            let end = secret.find(|c: char| !c.is_ascii_alphanumeric());
            masked.push_str("_***");
            rest = &secret[end.unwrap_or(secret.len())..];
        }
    }
    masked + rest
}

/// Whether a text has only letters and digits of ASCII.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Adds random letters and digits, all equally likely.
fn push_random(text: &mut String, count: usize) -> Result<(), getrandom::Error> {
    // The largest multiple of 62 that a byte holds: bytes from there on would make some characters likelier.
    const LIMIT: u8 = 248;
    let end = text.len() + count;
    while text.len() < end {
        let mut bytes = [0; 64];
        getrandom::fill(&mut bytes)?;
        let fair = bytes.into_iter().filter(|byte| *byte < LIMIT);
        let left = end - text.len();
        text.extend(fair.take(left).map(|byte| character(u32::from(byte))));
    }
    Ok(())
}

/// The CRC-32 of a text, in base 62.
fn checksum(text: &str) -> String {
    let mut left = crc32fast::hash(text.as_bytes());
    let mut digits = [' '; CHECKSUM];
    for digit in digits.iter_mut().rev() {
        *digit = character(left);
        left /= 62;
    }
    digits.iter().collect()
}

/// The character for a number, which is taken modulo 62.
fn character(number: u32) -> char {
    char::from(ALPHABET[number as usize % ALPHABET.len()])
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_well_formed_and_distinct() {
        let keys: HashSet<String> = (0..1000).map(|_| NewKey::generate().unwrap().0).collect();
        assert_eq!(keys.len(), 1000);
        for key in keys {
            let presented = PresentedKey::parse(&key).unwrap();
            assert!(key.starts_with(&format!("vgk_{}_", presented.id)));
            assert!(presented.hash.equals(&KeyHash::of(&key)));
            assert_eq!(key.len(), 66);
        }
    }

    #[test]
    fn a_mistyped_key_is_not_well_formed() {
        let key = NewKey::generate().unwrap().0;
        for index in 0..key.len() {
            let mut typed = key.clone().into_bytes();
            typed[index] = if typed[index] == b'x' { b'y' } else { b'x' };
            let typed = String::from_utf8(typed).unwrap();
            assert!(PresentedKey::parse(&typed).is_none(), "{index}");
        }
        for bad in [
            "",
            "vgk_",
            "vgk__",
            "secret",
            &key[1..],
            &key[..65],
            &format!("{key}x"),
            "vgk_ä_ö",
        ] {
            assert!(PresentedKey::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn the_secrets_of_keys_in_a_text_are_masked() {
        for (text, masked) in [
            ("", ""),
            ("/vehicles/vgk", "/vehicles/vgk"),
            (
                "/keys/vgk_4dKb0RzTq2Wm_s3cret/rotate",
                "/keys/vgk_4dKb0RzTq2Wm_***/rotate",
            ),
            ("vgk_a_b%2Fvgk_c_d", "vgk_a_***%2Fvgk_c_***"),
            ("vgk_vgk_a_b", "vgk_vgk_***_b"),
            ("vgk_", "vgk_"),
            ("vgk_ä_ö", "vgk_ä_ö"),
        ] {
            assert_eq!(mask_keys(text), masked);
        }
        let key = NewKey::generate().unwrap().0;
        let secret = key.rsplit('_').next().unwrap();
        assert!(!mask_keys(&format!("/{key}/{key}")).contains(secret));
    }

    #[test]
    fn a_hash_is_read_as_it_is_written() {
        let hash = KeyHash::of("abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(KeyHash::parse(text), Some(hash));
        assert_eq!(KeyHash::parse(&text.to_uppercase()), Some(hash));
        for bad in [
            "",
            &text[1..],
            &format!("{text}0"),
            &text.replace('b', "g"),
            &text.replace("ba", "ä"),
        ] {
            assert_eq!(KeyHash::parse(bad), None, "{bad}");
        }
    }
}
