//! The settings: read from every source, checked once, then plain values.
//!
//! Sources are merged in this order, later ones over earlier ones: the embedded `config/gateway.toml`, the `--config`
//! files, `GATEWAY_…` environment variables, `--set KEY=VALUE` flags.
//!
//! - `layers` merges the sources and refuses unknown keys.
//! - `reader` checks one merged value.
//! - `schema` has one file for each section: its keys, types and bounds. A new setting is added there and in
//!   `config/gateway.toml`.
//! - `units` parses and formats durations, sizes and networks.
//!
//! [`load`] reports all problems at once. The module reads no clock and no network, and uses no other module of the
//! crate.

mod layers;
mod problem;
mod reader;
mod schema;
mod secret_url;
#[cfg(test)]
mod tests;
mod units;
mod value;

use std::path::PathBuf;

pub use problem::{ConfigProblem, ConfigProblems};
pub use schema::{
    CommandSettings, DatabaseSettings, DeviceSettings, DeviceTlsSettings, EVENTS, EndpointSettings,
    HttpAuth, HttpSettings, HttpTlsSettings, InstanceSettings, KeySettings, LogFormat, LogSettings,
    PresenceSettings, ProxyProtocol, RedisSettings, RetentionSettings, SCOPES, Settings,
    ShutdownSettings, StoreSettings, WebhookSecret, WebhookSettings, WebhookUrl,
};
pub use secret_url::SecretUrl;
pub use units::{mask, printable_name};

/// The sources of the settings, apart from the embedded defaults.
///
/// It has no `Debug`, because the environment may hold passwords.
#[derive(Clone, Default)]
pub struct Sources {
    /// The `--config` files; a later one overrides an earlier one.
    pub files: Vec<PathBuf>,
    /// Environment variables as names and values. Variables that are no settings are ignored, so the
    /// whole environment may be given; see [`process_environment`].
    pub environment: Vec<(String, String)>,
    /// The `--set` flags, each `KEY=VALUE`; a later one overrides an earlier one.
    pub overrides: Vec<String>,
}

/// Reads and checks every setting.
///
/// # Errors
///
/// All problems of the sources and of the values together.
pub fn load(sources: &Sources) -> Result<Settings, ConfigProblems> {
    let merged = layers::merge(sources);
    let mut reader = reader::SettingsReader::new(&merged);
    let settings = Settings::read(&mut reader);
    let value_problems = reader.into_problems();
    let mut problems = merged.problems;
    problems.extend(value_problems);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(ConfigProblems(problems))
    }
}

/// The environment variables of this process that can be settings, or may be meant to be.
///
/// A value that is not UTF-8 gets replacement characters, which no setting accepts: so it is reported
/// instead of ignored.
#[must_use]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| layers::resembles_a_setting(name))
        .collect()
}
