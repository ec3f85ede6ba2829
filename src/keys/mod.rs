//! The keys that the API accepts: those of the settings and those in the database.
//!
//! Each instance keeps all keys in memory and reads them again every 2 s, so that a key that was revoked through another
//! instance is refused soon, and a database that is away locks nobody out. A key that is not known is looked for in the
//! database before it is refused: another instance may have just made it.

mod admin;

use std::{
    collections::HashMap,
    mem,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::Duration,
};

use tokio::{
    sync::Mutex as AsyncMutex,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    access::{Caller, KeyId, KeyRefusal, Keyring, PresentedKey},
    domain::Timestamp,
    store::{Store, StoreError},
};

pub use crate::access::ApiKey;
pub use admin::{KeyError, KeyRequest};

/// The interval at which all keys are read again: a key that was revoked through another instance is refused within 5 s.
const REFRESH_EVERY: Duration = Duration::from_secs(2);
/// The least time between two reads for keys that are not known, whatever number of requests has such keys.
const LOOKUP_EVERY: Duration = Duration::from_millis(100);
/// The longest that a request waits for such a read.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);
/// The longest that a read of all keys may take.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// The interval at which uses of keys are stored.
const NOTE_USES_EVERY: Duration = Duration::from_mins(1);
/// The most uses that one write stores: each is a statement.
const USES_PER_WRITE: usize = 50;

/// The keys that the API accepts.
#[derive(Debug)]
pub struct Keys {
    store: Arc<Store>,
    known: RwLock<Arc<Keyring>>,
    /// The last read of all keys. Held during a read, so that there is one at a time.
    last_read: AsyncMutex<Option<Read>>,
    /// When keys of the database were used last, as far as it is not stored.
    uses: Mutex<HashMap<KeyId, Timestamp>>,
}

/// A read of all keys.
#[derive(Debug, Clone, Copy)]
struct Read {
    began: Instant,
    succeeded: bool,
}

impl Keys {
    /// The keys of the settings, and those in the database once [`Self::refresh`] has read them.
    #[must_use]
    pub fn new(store: Arc<Store>, configured: Keyring) -> Self {
        Self {
            store,
            known: RwLock::new(Arc::new(configured)),
            last_read: AsyncMutex::default(),
            uses: Mutex::default(),
        }
    }

    /// Who presents this key, as far as keys are known here.
    pub fn identify(&self, key: &PresentedKey) -> Result<Caller, KeyRefusal> {
        let now = self.store.now();
        let caller = self.known().identify(key, now)?;
        if let Some(id) = caller.id() {
            self.note_use(id, now);
        }
        Ok(caller)
    }

    /// Who presents this key, after all keys were read from the database again. Fails if it does not answer within
    /// 2 s: then the key may be right or wrong.
    pub async fn look_up(
        &self,
        key: &PresentedKey,
    ) -> Result<Result<Caller, KeyRefusal>, StoreError> {
        let reading = timeout(LOOKUP_TIMEOUT, self.refresh());
        reading.await.unwrap_or(Err(StoreError::Unavailable))?;
        Ok(self.identify(key))
    }

    /// Whether any key may be used now.
    #[must_use]
    pub fn has_usable(&self) -> bool {
        self.known().has_usable(self.store.now())
    }

    fn known(&self) -> Arc<Keyring> {
        Arc::clone(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns once a read of all keys has ended that began after the call. Callers that wait share a read and its
    /// failure, so there is at most one each 100 ms.
    pub async fn refresh(&self) -> Result<(), StoreError> {
        let called = Instant::now();
        let mut last_read = self.last_read.lock().await;
        if let Some(last) = *last_read {
            if last.began >= called {
                let succeeded = last.succeeded.then_some(());
                return succeeded.ok_or(StoreError::Unavailable);
            }
            sleep_until(last.began + LOOKUP_EVERY).await;
        }
        let mut read = Read {
            began: Instant::now(),
            succeeded: false,
        };
        // Noted first: a caller may give up while it reads.
        *last_read = Some(read);
        let stored = timeout(READ_TIMEOUT, self.store.api_keys()).await;
        let stored = stored.unwrap_or(Err(StoreError::Unavailable))?;
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        *known = Arc::new(known.with_stored(stored));
        drop(known);
        read.succeeded = true;
        *last_read = Some(read);
        Ok(())
    }

    /// Makes a change known here that was just stored: by a read, which has later changes of others as well. If there is
    /// none in time, `key` is taken as it was stored.
    async fn know(&self, key: ApiKey) {
        let reading = timeout(LOOKUP_TIMEOUT, self.refresh());
        if matches!(reading.await, Ok(Ok(()))) {
            return;
        }
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        Arc::make_mut(&mut known).insert(key);
    }

    fn note_use(&self, id: &KeyId, now: Timestamp) {
        let mut uses = self.uses.lock().unwrap_or_else(PoisonError::into_inner);
        match uses.get_mut(id) {
            Some(at) => *at = now,
            None => {
                uses.insert(id.clone(), now);
            }
        }
    }

    /// Reads the keys again and again, and stores when they were used, until the task is dropped.
    pub async fn run(&self) {
        let mut uses_noted = Instant::now();
        loop {
            sleep(REFRESH_EVERY).await;
            if let Err(error) = self.refresh().await {
                tracing::debug!(%error, "keys of the API not read: those that are known stay so");
            }
            if uses_noted.elapsed() >= NOTE_USES_EVERY {
                uses_noted = Instant::now();
                self.store_uses().await;
            }
        }
    }

    /// Stores when keys were used. What cannot be stored is dropped: it is for people, and a later use follows.
    pub async fn store_uses(&self) {
        let uses = mem::take(&mut *self.uses.lock().unwrap_or_else(PoisonError::into_inner));
        let mut uses: Vec<_> = uses.into_iter().collect();
        // Each instance locks rows in this order.
        uses.sort();
        for some in uses.chunks(USES_PER_WRITE) {
            let write = self.store.note_key_uses(some.to_vec());
            if let Err(error) = self.store.settled(write).await {
                tracing::debug!(%error, "uses of keys not stored");
            }
        }
    }
}
