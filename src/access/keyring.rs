//! The keys that are known.

use std::collections::HashMap;

use super::{KeyHash, Scopes};

/// A known key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownKey {
    /// Its name, for people.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
}

/// The known keys by their hashes. A look-up takes as long for a wrong key as for a right one, and what it takes says
/// nothing about the key: it depends on the hash.
#[derive(Debug, Default)]
pub struct Keyring(HashMap<KeyHash, KnownKey>);

impl Keyring {
    /// These keys.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (KeyHash, KnownKey)>) -> Self {
        Self(keys.into_iter().collect())
    }

    /// The key with this text; `None` if it is not known.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&KnownKey> {
        self.0.get(&KeyHash::of(key))
    }
}
