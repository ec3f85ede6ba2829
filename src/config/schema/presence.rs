//! `[presence]`: when instances count as dead, and vehicles as offline.

use std::time::Duration;

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{HOUR, as_duration},
};

/// `[presence]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PresenceSettings {
    /// The time without a commit after which another instance counts as dead.
    #[serde(serialize_with = "as_duration")]
    pub lease: Duration,
    /// The time that a vehicle whose session was ended by its instance has to come back before it is offline.
    #[serde(serialize_with = "as_duration")]
    pub offline_grace: Duration,
}

impl PresenceSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            lease: reader.duration("presence.lease", Duration::from_secs(2)..=HOUR / 6),
            offline_grace: reader.duration("presence.offline_grace", Duration::ZERO..=HOUR / 6),
        }
    }
}
