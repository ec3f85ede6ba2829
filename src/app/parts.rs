//! Creates the parts of the gateway, and gives each the other parts that it needs.

use std::sync::Arc;

use crate::{
    access::Keyring,
    audit::Audit,
    cluster::{Cluster, ClusterParts, Peers, PresenceOptions},
    commands::{CommandOptions, CommandParts, Commands},
    fanout::Fanout,
    http::ApiParts,
    instance::Instance,
    keys::Keys,
    maintenance::Maintenance,
    peers,
    sessions::{OfflineGrace, Registry, Sessions},
    store::Store,
    tls::TlsServer,
    vehicles::Vehicles,
    webhooks::{DeliveryCounters, UrlPolicy, WebhookAdmin},
};

/// The options that [`Parts`] are created with.
#[derive(Debug, Clone)]
pub(crate) struct PartOptions {
    /// The name of this instance: the setting `instance.id`.
    pub(crate) instance_name: String,
    pub(crate) commands: CommandOptions,
    pub(crate) presence: PresenceOptions,
    /// The URLs that webhooks which are created over REST may have.
    pub(crate) url_policy: UrlPolicy,
    /// The counters of deliveries, which the dispatcher writes and [`WebhookAdmin`] reads.
    pub(crate) delivery_counters: DeliveryCounters,
    /// The keys of the settings.
    pub(crate) configured_keys: Keyring,
}

/// The parts of one gateway.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) store: Arc<Store>,
    pub(crate) fanout: Arc<Fanout>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) instance: Arc<Instance>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) commands: Arc<Commands>,
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) vehicles: Arc<Vehicles>,
    pub(crate) maintenance: Arc<Maintenance>,
    pub(crate) webhooks: Arc<WebhookAdmin>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) audit: Arc<Audit>,
}

impl Parts {
    /// Creates the parts on `store` and `fanout`.
    pub(crate) fn new(store: Arc<Store>, fanout: Fanout, options: PartOptions) -> Self {
        let PartOptions {
            instance_name,
            commands,
            presence,
            url_policy,
            delivery_counters,
            configured_keys,
        } = options;
        let fanout = Arc::new(fanout);
        let registry = Arc::<Registry>::default();
        let peers = Arc::<Peers>::default();
        let instance = Arc::new(Instance::new(
            instance_name,
            presence.lease,
            Arc::clone(&store),
            Arc::clone(&fanout),
        ));
        let offline_grace = OfflineGrace::new(
            store.is_shared().then_some(presence.offline_grace),
            instance.draining().clone(),
        );
        let sessions = Arc::new(Sessions::new(
            Arc::clone(&store),
            Arc::clone(&registry),
            offline_grace.clone(),
        ));
        let commands = Commands::new(
            CommandParts {
                store: Arc::clone(&store),
                registry: Arc::clone(&registry),
                fanout: Arc::clone(&fanout),
                instance: Arc::clone(&instance),
                peers: Arc::clone(&peers),
                offline_grace: offline_grace.clone(),
            },
            commands,
        );
        let cluster = Cluster::new(
            ClusterParts {
                store: Arc::clone(&store),
                fanout: Arc::clone(&fanout),
                registry: Arc::clone(&registry),
                sessions: Arc::clone(&sessions),
                instance: Arc::clone(&instance),
                peers: Arc::clone(&peers),
                offline_grace,
            },
            presence,
        );
        Self {
            commands: Arc::new(commands),
            cluster: Arc::new(cluster),
            vehicles: Arc::new(Vehicles::new(Arc::clone(&store), Arc::clone(&registry))),
            maintenance: Arc::new(Maintenance::new(
                Arc::clone(&store),
                Arc::clone(&registry),
                peers,
            )),
            webhooks: Arc::new(WebhookAdmin::new(
                Arc::clone(&store),
                url_policy,
                delivery_counters,
            )),
            audit: Arc::new(Audit::new(Arc::clone(&store))),
            keys: Arc::new(Keys::new(Arc::clone(&store), configured_keys)),
            store,
            fanout,
            registry,
            instance,
            sessions,
        }
    }

    /// The parts that the API uses, with the listeners that speak TLS.
    pub(crate) fn api(&self, tls: Vec<Arc<TlsServer>>) -> ApiParts {
        ApiParts {
            tls,
            vehicles: Arc::clone(&self.vehicles),
            commands: Arc::clone(&self.commands),
            webhooks: Arc::clone(&self.webhooks),
            keys: Arc::clone(&self.keys),
            audit: Arc::clone(&self.audit),
            instance: Arc::clone(&self.instance),
            sessions: Arc::clone(&self.sessions),
        }
    }

    /// The parts that handle messages of peers.
    pub(crate) fn handlers(&self) -> peers::Handlers {
        peers::Handlers {
            commands: Arc::clone(&self.commands),
            registry: Arc::clone(&self.registry),
            cluster: Arc::clone(&self.cluster),
            fanout: Arc::clone(&self.fanout),
        }
    }
}
