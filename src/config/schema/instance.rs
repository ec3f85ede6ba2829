//! `[instance]`: the name of this instance.

use serde::Serialize;

use crate::config::{reader::SettingsReader, units::printable_name};

/// `[instance]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceSettings {
    /// The name of this instance, 1 to 64 printable characters; the host name unless it was set.
    pub id: String,
}

impl InstanceSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        let allowed = "1 to 64 printable characters, or \"\" for the host name";
        Self {
            id: reader.parsed("instance.id", allowed, String::new(), |text| {
                if text.is_empty() {
                    printable_name(&gethostname::gethostname().to_string_lossy())
                } else {
                    printable_name(text)
                }
            }),
        }
    }
}
