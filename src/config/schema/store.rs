//! `[store]`: how the gateway writes to the database.

use std::time::Duration;

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{GIB, HOUR, MIB, MILLIS_100, as_duration, as_size},
};

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreSettings {
    /// The longest time that a device or a request waits for a commit.
    #[serde(serialize_with = "as_duration")]
    pub commit_timeout: Duration,
    /// The most bytes that wait to be written; two of the largest blobs always fit.
    #[serde(serialize_with = "as_size")]
    pub queue: usize,
    /// The interval at which heartbeats are written.
    #[serde(serialize_with = "as_duration")]
    pub heartbeat_flush: Duration,
    /// The free bytes of the disk with the `SQLite` file below which there is a warning; 0 for none.
    #[serde(serialize_with = "as_size")]
    pub disk_warning: usize,
}

impl StoreSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            commit_timeout: reader.duration("store.commit_timeout", MILLIS_100..=HOUR / 12),
            queue: reader.bytes("store.queue", MIB..=16 * GIB),
            heartbeat_flush: reader.duration("store.heartbeat_flush", MILLIS_100..=HOUR / 6),
            disk_warning: reader.bytes("store.disk_warning", 0..=1024 * GIB),
        }
    }
}
