//! Who makes a request.

use std::sync::Arc;

use super::{ApiKey, ConfiguredKey, KeyId, Scope, Scopes};
use crate::domain::Timestamp;

/// Who makes a request.
#[derive(Debug, Clone)]
pub struct Caller(pub(super) CallerKey);

/// The key of a request.
#[derive(Debug, Clone)]
pub(super) enum CallerKey {
    /// None, where none is needed.
    None,
    /// One of the settings.
    Configured(Arc<ConfiguredKey>),
    /// One of the database.
    Stored(Arc<ApiKey>),
}

impl Caller {
    /// Who needs no key: may do everything.
    #[must_use]
    pub fn without_key() -> Self {
        Self(CallerKey::None)
    }

    /// The name of the key.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            CallerKey::None => None,
            CallerKey::Configured(key) => Some(&key.name),
            CallerKey::Stored(key) => Some(&key.name),
        }
    }

    /// The id of the key, if it is one of the database.
    #[must_use]
    pub fn id(&self) -> Option<&KeyId> {
        match &self.0 {
            CallerKey::Stored(key) => Some(&key.id),
            CallerKey::None | CallerKey::Configured(_) => None,
        }
    }

    /// A text that no other key has, and that stays through rotations; `None` without a key.
    #[must_use]
    pub fn identity(&self) -> Option<String> {
        match &self.0 {
            CallerKey::None => None,
            CallerKey::Configured(key) => Some(format!("settings {}", key.name)),
            CallerKey::Stored(key) => Some(key.id.to_string()),
        }
    }

    /// What the caller may do.
    #[must_use]
    pub fn scopes(&self) -> Scopes {
        match &self.0 {
            CallerKey::None => Scopes::all(),
            CallerKey::Configured(key) => key.scopes,
            CallerKey::Stored(key) => key.scopes,
        }
    }

    /// From when on the key is refused; `None` for never.
    #[must_use]
    pub fn expires_at(&self) -> Option<Timestamp> {
        match &self.0 {
            CallerKey::None => None,
            CallerKey::Configured(key) => key.expires_at,
            CallerKey::Stored(key) => key.expires_at,
        }
    }

    /// Whether the caller may do what needs this scope.
    #[must_use]
    pub fn may(&self, scope: Scope) -> bool {
        self.scopes().contains(scope)
    }
}
