//! Who may read the database file: it holds where vehicles were, and the secrets of webhooks.

use std::{
    fs::{File, Metadata, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::Path,
};

/// The mode of new files: for the user of the gateway only.
const PRIVATE: u32 = 0o600;
/// The permission of users who are neither the owner nor in the group to read a file, and to reach what is in a folder.
const OTHERS_READ: u32 = 0o004;
const OTHERS_ENTER: u32 = 0o001;

/// Opens a file to append to it. A new one is private; the mode of one that is there stays.
pub(super) fn open_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .create(true)
        .append(true)
        .mode(PRIVATE)
        .open(path)
}

/// Warns if users of this host may read the database file who have nothing to do with it, such as one that an earlier
/// version made. `SQLite` gives its `-wal` and `-shm` files the mode of the file.
pub(super) fn warn_if_others_may_read(database: &Path) {
    let folder = database.parent().unwrap_or(Path::new("/"));
    let has = |path: &Path, bit: u32| {
        let mode = path.metadata().as_ref().map_or(0, Metadata::mode);
        mode & bit != 0
    };
    if has(database, OTHERS_READ) && has(folder, OTHERS_ENTER) {
        tracing::warn!(
            path = %database.display(),
            "every user of this host may read the database, with the secrets of webhooks; run: chmod o-rwx {}*",
            database.display()
        );
    }
}
