//! `[database]`: the system of record.

use std::time::Duration;

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    secret_url::{self, SecretUrl},
    units::{HOUR, as_duration},
};

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseSettings {
    /// The URL of the database.
    pub url: SecretUrl,
    /// The number of read-only connections, at least 1.
    pub readers: usize,
    /// How long a start waits for a database server that is not there yet.
    #[serde(serialize_with = "as_duration")]
    pub wait: Duration,
}

impl DatabaseSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        let url = reader.parsed(
            "database.url",
            secret_url::DATABASE,
            SecretUrl::none(),
            SecretUrl::parse_database,
        );
        if let Some(problem) = url.unknown_parameter() {
            reader.together("database.url", &[], false, problem);
        }
        Self {
            url,
            readers: reader.count("database.readers", 1..=64),
            wait: reader.duration("database.wait", Duration::ZERO..=HOUR),
        }
    }
}
