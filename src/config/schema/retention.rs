//! `[retention]`: how long history is kept.

use std::time::Duration;

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{DAY, HOUR, MILLIS_100, as_duration},
};

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetentionSettings {
    /// The age at which a report is removed.
    #[serde(serialize_with = "as_duration")]
    pub reports: Duration,
    /// The age at which a debug blob is removed.
    #[serde(serialize_with = "as_duration")]
    pub debug_blobs: Duration,
    /// The age at which a command is removed.
    #[serde(serialize_with = "as_duration")]
    pub commands: Duration,
    /// The age at which a webhook message is removed, delivered or not.
    #[serde(serialize_with = "as_duration")]
    pub webhooks: Duration,
    /// The age at which an audit record is removed.
    #[serde(serialize_with = "as_duration")]
    pub audit: Duration,
    /// The interval at which old rows are removed.
    #[serde(serialize_with = "as_duration")]
    pub interval: Duration,
}

impl RetentionSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        // The lower bounds catch "90s" written for "90d": removed rows do not come back.
        Self {
            reports: reader.duration("retention.reports", HOUR..=DAY * 3650),
            debug_blobs: reader.duration("retention.debug_blobs", HOUR..=DAY * 3650),
            commands: reader.duration("retention.commands", DAY..=DAY * 3650),
            webhooks: reader.duration("retention.webhooks", HOUR..=DAY * 3650),
            audit: reader.duration("retention.audit", DAY..=DAY * 3650),
            interval: reader.duration("retention.interval", MILLIS_100..=DAY),
        }
    }
}
