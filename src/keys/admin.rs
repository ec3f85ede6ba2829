//! What the API offers about keys.

use std::time::Duration;

use super::Keys;
use crate::{
    access::{ApiKey, Caller, KeyHash, KeyId, NewKey, Scopes},
    domain::Timestamp,
    store::{KeyRotation, StoreError},
};

/// A key to create.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRequest {
    /// Its name, for people.
    pub name: String,
    /// What it allows.
    pub scopes: Scopes,
    /// From when on it is refused; `None` for never.
    pub expires_at: Option<Timestamp>,
}

/// Why something about keys could not be done.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// No key has this id.
    #[error("no key has this id")]
    Unknown,
    /// The key has expired.
    #[error("the key has expired")]
    Expired,
    /// There are 1,000 keys already.
    #[error("there are 1,000 keys already")]
    TooMany,
    /// The key would allow what the caller's key does not allow.
    #[error("the caller's key does not allow {0:?}")]
    NotAllowed(Scopes),
    /// The key would be good for longer than the caller's key, which ends at this time.
    #[error("the caller's key ends at {0}")]
    OutlivesCaller(Timestamp),
    /// The key has scopes that this version does not know.
    #[error("the key has scopes that this version does not know")]
    UnknownScopes,
    /// The caller's key has ended since the request began.
    #[error("the caller's key has ended")]
    CallerEnded,
    /// The time at which the key would expire cannot be shown.
    #[error("the key would expire after the year 9999")]
    ExpiresTooLate,
    /// The key would expire before it exists.
    #[error("the key would expire in the past")]
    ExpiresInThePast,
    /// The system has no randomness.
    #[error("the system has no random numbers: {0}")]
    NoSecret(getrandom::Error),
    /// The database did not answer, or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Keys {
    /// Returns the keys of the database that are not revoked, oldest first.
    pub async fn list(&self) -> Result<Vec<ApiKey>, KeyError> {
        let mut keys = self.store.api_keys().await?;
        keys.retain(|key| key.revoked_at.is_none());
        Ok(keys)
    }

    /// Returns a key of the database that is not revoked.
    pub async fn get(&self, id: &KeyId) -> Result<ApiKey, KeyError> {
        let key = self.store.api_key(id).await?;
        let key = key.filter(|key| key.revoked_at.is_none());
        key.ok_or(KeyError::Unknown)
    }

    /// Creates a key, and returns it with its secret, which nobody can look up later.
    pub async fn create(
        &self,
        caller: &Caller,
        request: KeyRequest,
    ) -> Result<(ApiKey, NewKey), KeyError> {
        self.require(caller, request.scopes, request.expires_at)?;
        let now = self.store.now();
        let expiry = request.expires_at.map(Timestamp::as_millis);
        if expiry.is_some_and(|at| jiff::Timestamp::from_millisecond(at).is_err()) {
            return Err(KeyError::ExpiresTooLate);
        }
        if request.expires_at.is_some_and(|at| at <= now) {
            return Err(KeyError::ExpiresInThePast);
        }
        let id = KeyId::random().map_err(KeyError::NoSecret)?;
        let secret = NewKey::with_id(&id).map_err(KeyError::NoSecret)?;
        let key = ApiKey {
            id,
            name: request.name,
            hash: KeyHash::of(secret.as_str()),
            previous: None,
            scopes: request.scopes,
            has_unknown_scopes: false,
            created_at: now,
            created_by: caller.name().map(str::to_owned),
            expires_at: request.expires_at,
            revoked_at: None,
            last_used_at: None,
        };
        let write = self.store.create_key(key.clone());
        if !self.store.settled(write).await? {
            return Err(KeyError::TooMany);
        }
        tracing::info!(id = %key.id, name = key.name, by = caller.name(), "key created");
        self.know(key.clone()).await;
        Ok((key, secret))
    }

    /// Gives a key a new secret and returns both; the secret before is accepted for `overlap` as well.
    pub async fn rotate(
        &self,
        caller: &Caller,
        id: &KeyId,
        overlap: Duration,
    ) -> Result<(ApiKey, NewKey), KeyError> {
        // Neither its scopes nor its end ever change, so this still holds when the secret is stored.
        let known = self.get(id).await?;
        self.require(caller, known.scopes, known.expires_at)?;
        if known.has_unknown_scopes {
            return Err(KeyError::UnknownScopes);
        }
        let secret = NewKey::with_id(id).map_err(KeyError::NoSecret)?;
        let hash = KeyHash::of(secret.as_str());
        let write = self.store.rotate_key(id.clone(), hash, overlap);
        let key = match self.store.settled(write).await? {
            KeyRotation::Rotated(key) => *key,
            KeyRotation::Expired => return Err(KeyError::Expired),
            KeyRotation::Unknown => return Err(KeyError::Unknown),
        };
        tracing::info!(%id, name = key.name, by = caller.name(), "key rotated");
        self.know(key.clone()).await;
        Ok((key, secret))
    }

    /// Revokes a key.
    pub async fn revoke(&self, caller: &Caller, id: &KeyId) -> Result<(), KeyError> {
        let write = self.store.revoke_key(id.clone());
        let key = self.store.settled(write).await?.ok_or(KeyError::Unknown)?;
        tracing::info!(%id, name = key.name, by = caller.name(), "key revoked");
        self.know(key).await;
        Ok(())
    }

    /// Fails if the caller may not give away a key with these scopes and this end: one that allows more, or is good for
    /// longer, than the caller's key, or any if that has ended while the body was on its way.
    fn require(
        &self,
        caller: &Caller,
        scopes: Scopes,
        expires_at: Option<Timestamp>,
    ) -> Result<(), KeyError> {
        if !self.known().is_usable(caller, self.store.now()) {
            return Err(KeyError::CallerEnded);
        }
        let missing = scopes - caller.scopes();
        if !missing.is_empty() {
            return Err(KeyError::NotAllowed(missing));
        }
        match caller.expires_at() {
            Some(end) if expires_at.is_none_or(|at| at > end) => Err(KeyError::OutlivesCaller(end)),
            _ => Ok(()),
        }
    }
}
