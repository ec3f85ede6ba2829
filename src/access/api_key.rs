//! The keys themselves, without their secrets.

use std::time::Duration;

use super::{KeyHash, KeyId, KeyRefusal, Scopes};
use crate::domain::Timestamp;

/// A key of the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfiguredKey {
    /// Its name, for people.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// From when on it is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
}

impl ConfiguredKey {
    pub(super) fn has_expired(&self, now: Timestamp) -> bool {
        has_passed(self.expires_at, now)
    }
}

/// A key of the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: KeyId,
    /// Its name, for people.
    pub name: String,
    /// The hash of the key.
    pub hash: KeyHash,
    /// The hash before the last rotation, and until when it is accepted as well.
    pub previous: Option<(KeyHash, Timestamp)>,
    /// What it allows, as far as this version knows its scopes.
    pub scopes: Scopes,
    /// Whether a newer version gave it scopes that this one does not know.
    pub has_unknown_scopes: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// The name of the key that created it; `None` if no key was needed.
    pub created_by: Option<String>,
    /// From when on it is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it is neither revoked nor expired.
    #[must_use]
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && !has_passed(self.expires_at, now)
    }

    /// Gives it another hash; the one before is accepted for `overlap` as well. False, without a change, if it is not
    /// usable.
    pub fn rotate(&mut self, hash: KeyHash, overlap: Duration, now: Timestamp) -> bool {
        if !self.is_usable(now) {
            return false;
        }
        let before = std::mem::replace(&mut self.hash, hash);
        self.previous = (!overlap.is_zero()).then(|| (before, now.after(overlap)));
        true
    }

    /// Whether a key with this id and the hash `presented` is accepted. Only who has the secret hears why not.
    pub(super) fn check(&self, presented: &KeyHash, now: Timestamp) -> Result<(), KeyRefusal> {
        let is_current = self.hash.equals(presented);
        let previous = self.previous.as_ref();
        let was_current = previous.is_some_and(|(hash, _)| hash.equals(presented));
        if !is_current && !was_current {
            Err(KeyRefusal::Unknown)
        } else if self.revoked_at.is_some() {
            Err(KeyRefusal::Revoked)
        } else if has_passed(self.expires_at, now) {
            Err(KeyRefusal::Expired)
        } else if !is_current && has_passed(previous.map(|(_, until)| *until), now) {
            Err(KeyRefusal::Rotated)
        } else {
            Ok(())
        }
    }
}

fn has_passed(end: Option<Timestamp>, now: Timestamp) -> bool {
    end.is_some_and(|end| end <= now)
}
