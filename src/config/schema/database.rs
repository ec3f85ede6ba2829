//! `[database]`: the system of record.

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    secret_url::{self, SecretUrl},
};

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseSettings {
    /// The URL of the database.
    pub url: SecretUrl,
    /// The number of read-only connections, at least 1.
    pub readers: usize,
}

impl DatabaseSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            url: reader.parsed(
                "database.url",
                secret_url::DATABASE,
                SecretUrl::none(),
                SecretUrl::parse_database,
            ),
            readers: reader.count("database.readers", 1..=64),
        }
    }
}
