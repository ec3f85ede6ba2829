//! The keys that are known, and what a request with one of them may do.

use std::{collections::HashMap, sync::Arc};

use super::{
    ApiKey, Caller, ConfiguredKey, KeyHash, KeyId, KeyRefusal, PresentedKey, caller::CallerKey,
};
use crate::domain::Timestamp;

/// The keys of the settings by their hashes, and those of the database by their ids.
///
/// How long a look-up takes says nothing about a secret: an id is none, hashes of one id are compared in constant time, and
/// nobody can choose the hash of a key.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    configured: Arc<HashMap<KeyHash, Arc<ConfiguredKey>>>,
    stored: HashMap<KeyId, Arc<ApiKey>>,
}

impl Keyring {
    /// The keys of the settings.
    #[must_use]
    pub fn configured(keys: impl IntoIterator<Item = (KeyHash, ConfiguredKey)>) -> Self {
        let keys = keys.into_iter().map(|(hash, key)| (hash, Arc::new(key)));
        Self {
            configured: Arc::new(keys.collect()),
            stored: HashMap::new(),
        }
    }

    /// The same keys of the settings, and these of the database.
    #[must_use]
    pub fn with_stored(&self, keys: impl IntoIterator<Item = ApiKey>) -> Self {
        let keys = keys.into_iter().map(|key| (key.id.clone(), Arc::new(key)));
        Self {
            configured: Arc::clone(&self.configured),
            stored: keys.collect(),
        }
    }

    /// Adds a key of the database, or replaces the one with its id. One that is known as revoked stays: it was read later.
    pub fn insert(&mut self, key: ApiKey) {
        let is_revoked = |known: &Arc<ApiKey>| known.revoked_at.is_some();
        if !self.stored.get(&key.id).is_some_and(is_revoked) {
            self.stored.insert(key.id.clone(), Arc::new(key));
        }
    }

    /// Whether the key of a caller may still be used at this time. Keys of the settings do not change.
    #[must_use]
    pub fn is_usable(&self, caller: &Caller, now: Timestamp) -> bool {
        caller.expires_at().is_none_or(|end| now < end)
            && caller
                .id()
                .is_none_or(|id| self.stored.get(id).is_some_and(|key| key.is_usable(now)))
    }

    /// Whether any key may be used at this time.
    #[must_use]
    pub fn has_usable(&self, now: Timestamp) -> bool {
        let mut configured = self.configured.values();
        configured.any(|key| !key.has_expired(now))
            || self.stored.values().any(|key| key.is_usable(now))
    }

    /// Who presents this key at this time.
    pub fn identify(&self, key: &PresentedKey, now: Timestamp) -> Result<Caller, KeyRefusal> {
        if let Some(configured) = self.configured.get(&key.hash) {
            if configured.has_expired(now) {
                return Err(KeyRefusal::Expired);
            }
            return Ok(Caller(CallerKey::Configured(Arc::clone(configured))));
        }
        let stored = self.stored.get(&key.id).ok_or(KeyRefusal::Unknown)?;
        stored.check(&key.hash, now)?;
        Ok(Caller(CallerKey::Stored(Arc::clone(stored))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::access::{NewKey, Scope, Scopes};

    const HOUR: Duration = Duration::from_hours(1);

    fn now() -> Timestamp {
        Timestamp::from_millis(10_000_000)
    }

    fn presented(key: &NewKey) -> PresentedKey {
        PresentedKey::parse(key.as_str()).unwrap()
    }

    fn stored(key: &NewKey) -> ApiKey {
        let PresentedKey { id, hash } = presented(key);
        ApiKey {
            id,
            name: "dispatch".to_owned(),
            hash,
            previous: None,
            scopes: Scope::Read | Scope::Command,
            has_unknown_scopes: false,
            created_at: now().before(HOUR),
            created_by: None,
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        }
    }

    #[test]
    fn a_key_is_known_by_its_secret_until_it_ends() {
        let key = NewKey::generate().unwrap();
        let id = presented(&key).id;
        let identify = |stored: ApiKey, key: &NewKey, now| {
            let keyring = Keyring::default().with_stored([stored]);
            let identified = keyring.identify(&presented(key), now);
            identified.map(|caller| caller.id().cloned())
        };
        assert_eq!(identify(stored(&key), &key, now()), Ok(Some(id.clone())));
        let same_id = NewKey::with_id(&id).unwrap();
        let of_nobody = NewKey::generate().unwrap();
        for wrong in [&same_id, &of_nobody] {
            assert_eq!(
                identify(stored(&key), wrong, now()),
                Err(KeyRefusal::Unknown)
            );
        }
        let expiring = ApiKey {
            expires_at: Some(now()),
            ..stored(&key)
        };
        let before = now().before(Duration::from_millis(1));
        assert!(identify(expiring.clone(), &key, before).is_ok());
        assert_eq!(
            identify(expiring.clone(), &key, now()),
            Err(KeyRefusal::Expired)
        );
        // Who does not have the secret does not hear why.
        assert_eq!(
            identify(expiring, &same_id, now()),
            Err(KeyRefusal::Unknown)
        );
        let revoked = ApiKey {
            revoked_at: Some(before),
            ..stored(&key)
        };
        assert_eq!(identify(revoked, &key, now()), Err(KeyRefusal::Revoked));
        let rotated = ApiKey {
            hash: presented(&same_id).hash,
            previous: Some((presented(&key).hash, now())),
            ..stored(&key)
        };
        assert!(identify(rotated.clone(), &same_id, now()).is_ok());
        assert!(identify(rotated.clone(), &key, before).is_ok());
        assert_eq!(identify(rotated, &key, now()), Err(KeyRefusal::Rotated));
    }

    #[test]
    fn a_key_that_is_known_as_revoked_stays_revoked() {
        let key = NewKey::generate().unwrap();
        let revoked = ApiKey {
            revoked_at: Some(now()),
            ..stored(&key)
        };
        let mut keyring = Keyring::default().with_stored([revoked]);
        keyring.insert(stored(&key));
        let identified = keyring.identify(&presented(&key), now());
        assert_eq!(identified.map(drop), Err(KeyRefusal::Revoked));
    }

    #[test]
    fn a_rotation_leaves_the_hash_before_for_the_overlap() {
        let (first, second) = (stored(&NewKey::generate().unwrap()).hash, KeyHash::of("2"));
        let rotate = |key: &mut ApiKey, overlap| key.rotate(second, overlap, now());
        let mut key = stored(&NewKey::generate().unwrap());
        key.hash = first;
        assert!(rotate(&mut key, HOUR));
        assert_eq!(
            (key.hash, key.previous),
            (second, Some((first, now().after(HOUR))))
        );
        assert!(rotate(&mut key, Duration::ZERO));
        assert_eq!((key.hash, key.previous), (second, None));
        key.expires_at = Some(now());
        assert!(!rotate(&mut key, HOUR));
        assert_eq!(key.previous, None);
    }

    #[test]
    fn a_key_of_the_settings_is_known_by_its_hash_until_it_expires() {
        let key = NewKey::generate().unwrap();
        let configured = ConfiguredKey {
            name: "metrics".to_owned(),
            scopes: Scopes::from(Scope::Metrics),
            expires_at: Some(now()),
        };
        let keyring = Keyring::configured([(KeyHash::of(key.as_str()), configured)]);
        let before = now().before(HOUR);
        let caller = keyring.identify(&presented(&key), before).unwrap();
        assert_eq!(caller.name(), Some("metrics"));
        assert!(caller.may(Scope::Metrics) && !caller.may(Scope::Read));
        assert!(keyring.has_usable(before));
        assert!(!keyring.has_usable(now()));
        let expired = keyring.identify(&presented(&key), now());
        assert_eq!(expired.map(drop), Err(KeyRefusal::Expired));
    }
}
