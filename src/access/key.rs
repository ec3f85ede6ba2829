//! The form of keys: `vgk_<id>_<secret><checksum>`, letters and digits.
//!
//! The prefix lets scanners of repositories find keys that were published by mistake, and with the checksum they know a
//! key from a text that only looks like one. It says nothing about whether a key is right.

use std::fmt;

use sha2::{Digest, Sha256};

const PREFIX: &str = "vgk_";
const ID: usize = 12;
/// As many as have at least the 256 bits of 32 random bytes.
const SECRET: usize = 43;
const CHECKSUM: usize = 6;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The SHA-256 of a key. A key has so much randomness that a fast hash suffices: there is nothing to guess.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyHash([u8; 32]);

/// A key that was just made.
pub struct NewKey(String);

/// Makes a key. Fails only if the system has no randomness.
pub fn generate() -> Result<NewKey, getrandom::Error> {
    let mut key = PREFIX.to_owned();
    push_random(&mut key, ID)?;
    key.push('_');
    push_random(&mut key, SECRET)?;
    key.push_str(&checksum(&key));
    Ok(NewKey(key))
}

impl NewKey {
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

/// Whether a text has the form of a key, and its checksum.
#[must_use]
pub fn is_well_formed(text: &str) -> bool {
    let Some((id, secret)) = text.strip_prefix(PREFIX).and_then(|it| it.split_once('_')) else {
        return false;
    };
    let is_plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric());
    id.len() == ID
        && secret.len() == SECRET + CHECKSUM
        && is_plain(id)
        && is_plain(secret)
        && text.ends_with(&checksum(&text[..text.len() - CHECKSUM]))
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
        let keys: HashSet<String> = (0..1000).map(|_| generate().unwrap().0).collect();
        assert_eq!(keys.len(), 1000);
        for key in keys {
            assert!(is_well_formed(&key), "{key}");
            assert_eq!(key.len(), 66);
        }
    }

    #[test]
    fn a_mistyped_key_is_not_well_formed() {
        let key = generate().unwrap().0;
        for index in 0..key.len() {
            let mut typed = key.clone().into_bytes();
            typed[index] = if typed[index] == b'x' { b'y' } else { b'x' };
            assert!(
                !is_well_formed(&String::from_utf8(typed).unwrap()),
                "{index}"
            );
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
            assert!(!is_well_formed(bad), "{bad}");
        }
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
