//! `[shutdown]`: how the process stops.

use std::time::Duration;

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{HOUR, as_duration},
};

/// `[shutdown]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShutdownSettings {
    /// How long the gateway still accepts new connections after the signal to stop.
    #[serde(serialize_with = "as_duration")]
    pub drain_delay: Duration,
    /// The longest time for the shutdown after `drain_delay`; then the remaining connections are cut.
    #[serde(serialize_with = "as_duration")]
    pub grace: Duration,
}

impl ShutdownSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            drain_delay: reader.duration("shutdown.drain_delay", Duration::ZERO..=HOUR / 6),
            grace: reader.duration("shutdown.grace", Duration::ZERO..=HOUR / 6),
        }
    }
}
