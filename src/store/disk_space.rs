//! The free space of the disk that holds an `SQLite` file.

use std::{
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use tokio::task::spawn_blocking;

use super::{Store, database::FileLock};

/// The last reading of the free bytes; `None` before the first, and after one that failed.
#[derive(Debug, Default)]
pub(super) struct LastReading(Mutex<Option<u64>>);

impl LastReading {
    fn set(&self, free: Option<u64>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = free;
    }
}

impl Store {
    /// The database file; `None` on a server, whose disk belongs to another host.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file_lock.as_ref().map(FileLock::database)
    }

    /// The free bytes of the disk with the database file, as [`Self::read_free_disk`] has read them last; `None` if it
    /// has not, and on a server.
    #[must_use]
    pub fn free_disk(&self) -> Option<u64> {
        *self
            .free_disk
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads how many bytes are free on the disk with the database file, for users without privileges. May take for
    /// ever: a network file system whose server is away does not answer. Until then [`Self::free_disk`] is as before.
    pub async fn read_free_disk(&self, file: &Path) -> io::Result<u64> {
        let file = file.to_owned();
        // On a thread of its own: the gateway does not wait for it, not even at its end.
        let read = spawn_blocking(move || rustix::fs::statvfs(&file)).await;
        let free = match read {
            Ok(Ok(disk)) => Ok(disk.f_bavail.saturating_mul(disk.f_frsize)),
            Ok(Err(error)) => Err(error.into()),
            Err(panicked) => Err(panicked.into()),
        };
        self.free_disk.set(free.as_ref().ok().copied());
        free
    }
}
