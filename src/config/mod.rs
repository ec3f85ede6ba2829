//! The settings: read from every source, checked once, then plain values.
//!
//! Four layers lie over one another: the embedded `config/gateway.toml` < `--config` files, in
//! order < `GATEWAY_…` environment < `--set KEY=VALUE`. `layers` merges them and refuses what is no
//! setting, `reader` turns a merged value into a checked one, [`settings`] lists the settings. No
//! mistake stops the reading: [`load`] reports all of them together. Nothing here reads the clock,
//! the network or another module of the crate.

mod layers;
mod problem;
mod reader;
mod secret_url;
pub mod settings;
#[cfg(test)]
mod tests;
mod units;
pub mod webhooks;

use std::path::PathBuf;

pub use problem::{Problem, Problems};
pub use secret_url::SecretUrl;
pub use settings::Settings;

/// Where settings come from, beside the embedded defaults.
///
/// It has no `Debug`, because the environment may hold passwords.
#[derive(Clone, Default)]
pub struct Sources {
    /// The `--config` files; a later one wins over an earlier one.
    pub files: Vec<PathBuf>,
    /// Environment variables, names and values. Those that name no setting are ignored, so the
    /// whole environment may be given; see [`process_environment`].
    pub environment: Vec<(String, String)>,
    /// The `--set` flags, each `KEY=VALUE`; a later one wins over an earlier one.
    pub overrides: Vec<String>,
}

/// Reads and checks every setting.
///
/// # Errors
///
/// Everything that is wrong with the sources and with the values they give, all together.
pub fn load(sources: &Sources) -> Result<Settings, Problems> {
    let merged = layers::merge(sources);
    let mut reader = reader::Reader::new(&merged);
    let settings = Settings::read(&mut reader);
    let wrong_values = reader.into_problems();
    let mut problems = merged.problems;
    problems.extend(wrong_values);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(Problems(problems))
    }
}

/// The variables of this process that may be settings.
///
/// A value that is not UTF-8 gets replacement characters, which no setting accepts: it is reported
/// instead of being passed over.
#[must_use]
pub fn process_environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .map(|(name, value)| {
            (
                name.to_string_lossy().into_owned(),
                value.to_string_lossy().into_owned(),
            )
        })
        .filter(|(name, _)| layers::names_a_setting(name))
        .collect()
}
