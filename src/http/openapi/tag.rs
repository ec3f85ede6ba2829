//! The groups of operations.

use aide::openapi::Tag;

/// A group of operations in the `OpenAPI` document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ApiTag {
    Vehicles,
    Commands,
    History,
    Service,
    Webhooks,
    Server,
}

impl ApiTag {
    /// Every group, in the order of the document.
    pub(crate) const ALL: [Self; 6] = [
        Self::Vehicles,
        Self::Commands,
        Self::History,
        Self::Service,
        Self::Webhooks,
        Self::Server,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Vehicles => "Vehicles",
            Self::Commands => "Commands",
            Self::History => "History",
            Self::Service => "Service",
            Self::Webhooks => "Webhooks",
            Self::Server => "Server",
        }
    }

    fn description(self) -> &'static str {
        match self {
            Self::Vehicles => "The vehicles and their current state.",
            Self::Commands => "Send commands to vehicles.",
            Self::History => "Past reports, debug blobs and commands of a vehicle.",
            Self::Service => "Report on behalf of a vehicle.",
            Self::Webhooks => "Webhooks and the messages sent to them.",
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
