//! `[commands]`: commands to vehicles.

use std::time::Duration;

use serde::Serialize;

use crate::config::{reader::SettingsReader, units::as_duration};

/// `[commands]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandSettings {
    /// How long a request waits for the vehicle's answer if it does not name a time-out of its own.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// The most commands that wait for reply slots of one vehicle, at least 1.
    pub queue: usize,
}

impl CommandSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            timeout: reader.duration(
                "commands.timeout",
                Duration::from_secs(1)..=Duration::from_mins(1),
            ),
            queue: reader.count("commands.queue", 1..=1000),
        }
    }
}
