//! `[redis]`: the fan-out between instances.

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    secret_url::{self, SecretUrl},
    units::printable_name,
};

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RedisSettings {
    /// The URL of Redis; empty if there is only one instance.
    pub url: SecretUrl,
    /// The channel that all instances subscribe to, and the prefix of the channel of each instance.
    pub channel: String,
}

impl RedisSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            url: reader.parsed(
                "redis.url",
                secret_url::REDIS,
                SecretUrl::none(),
                SecretUrl::parse_redis,
            ),
            channel: reader.parsed(
                "redis.channel",
                "1 to 64 printable characters",
                String::new(),
                printable_name,
            ),
        }
    }
}
