//! The parts of the gateway that requests use.

use std::sync::Arc;

use super::{options::HttpOptions, static_content::StaticContent, unread_budget::UnreadBudget};
use crate::{
    audit::Audit, commands::Commands, instance::Instance, keys::Keys, sessions::Sessions,
    tls::TlsServer, vehicles::Vehicles, webhooks::WebhookAdmin,
};

/// The parts of the gateway that the API serves.
#[derive(Debug, Clone)]
pub struct ApiParts {
    /// Vehicles and their history.
    pub vehicles: Arc<Vehicles>,
    /// Commands to vehicles.
    pub commands: Arc<Commands>,
    /// Webhooks and their messages.
    pub webhooks: Arc<WebhookAdmin>,
    /// Keys of the API.
    pub keys: Arc<Keys>,
    /// The audit trail.
    pub audit: Arc<Audit>,
    /// This instance.
    pub instance: Arc<Instance>,
    /// The device connections of this instance.
    pub sessions: Arc<Sessions>,
    /// The listeners that speak TLS.
    pub(crate) tls: Vec<Arc<TlsServer>>,
}

/// The state that all requests share.
#[derive(Debug)]
pub(crate) struct ApiState {
    pub(crate) vehicles: Arc<Vehicles>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) webhooks: Arc<WebhookAdmin>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) audit: Arc<Audit>,
    pub(crate) instance: Arc<Instance>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) tls: Vec<Arc<TlsServer>>,
    pub(crate) options: HttpOptions,
    /// The `OpenAPI` document.
    pub(crate) document: StaticContent,
    /// The path under which a reverse proxy offers the API; empty if it is the root.
    pub(crate) base_path: String,
    /// What responses may take that clients have not read yet.
    pub(crate) unread: UnreadBudget,
}

impl ApiState {
    pub(crate) fn new(
        parts: ApiParts,
        options: HttpOptions,
        document: StaticContent,
        base_path: String,
    ) -> Self {
        Self {
            vehicles: parts.vehicles,
            commands: parts.commands,
            webhooks: parts.webhooks,
            keys: parts.keys,
            audit: parts.audit,
            instance: parts.instance,
            sessions: parts.sessions,
            tls: parts.tls,
            options,
            document,
            base_path,
            unread: UnreadBudget::default(),
        }
    }
}
