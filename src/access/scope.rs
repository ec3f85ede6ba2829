//! What a key allows.

use enumset::{EnumSet, EnumSetType};
use strum::{Display, EnumString, IntoStaticStr, VariantNames};

/// A part of the API that a key may be used for. Its text is its name in settings and in the `OpenAPI` document.
#[derive(Debug, Hash, EnumSetType, Display, EnumString, IntoStaticStr, VariantNames)]
#[strum(serialize_all = "kebab-case")]
pub enum Scope {
    /// To read vehicles, their history, commands and webhooks.
    Read,
    /// To read metrics.
    Metrics,
    /// To report the state of a vehicle on its behalf.
    Ingest,
    /// To speak to vehicles.
    Command,
    /// To create and delete vehicles, and to change webhooks.
    Manage,
    /// To create, rotate and revoke keys, and to see who did what.
    Keys,
}

/// A set of scopes.
pub type Scopes = EnumSet<Scope>;

impl Scope {
    /// The scope's name in settings and in the `OpenAPI` document.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}
