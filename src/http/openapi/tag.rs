//! The groups of operations: one for each resource.

use aide::openapi::Tag;

/// A group of operations in the `OpenAPI` document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiTag {
    Vehicles,
    Reports,
    DebugBlobs,
    Commands,
    Webhooks,
    Keys,
    Audit,
    Server,
}

impl ApiTag {
    /// Every group, in the order of the document.
    pub(crate) const ALL: [Self; 8] = [
        Self::Vehicles,
        Self::Reports,
        Self::DebugBlobs,
        Self::Commands,
        Self::Webhooks,
        Self::Keys,
        Self::Audit,
        Self::Server,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vehicles => "Vehicles",
            Self::Reports => "Reports",
            Self::DebugBlobs => "Debug blobs",
            Self::Commands => "Commands",
            Self::Webhooks => "Webhooks",
            Self::Keys => "Keys",
            Self::Audit => "Audit",
            Self::Server => "Server",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Vehicles => "The vehicles and their current state.",
            Self::Reports => {
                "The reports of vehicles: past ones, and a new one on behalf of a vehicle."
            }
            Self::DebugBlobs => "The crash dumps that vehicles have sent.",
            Self::Commands => "Send commands to vehicles, and see past ones.",
            Self::Webhooks => "Webhooks and the messages sent to them.",
            Self::Keys => "Keys of the API: who may do what.",
            Self::Audit => "Who did what over the API.",
            Self::Server => "The server itself: health, readiness, metrics, documentation.",
        }
    }
}

impl From<ApiTag> for Tag {
    fn from(tag: ApiTag) -> Self {
        Self {
            name: tag.name().to_owned(),
            description: Some(tag.description().to_owned()),
            ..Self::default()
        }
    }
}
