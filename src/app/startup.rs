//! Startup: opens the database and Redis, and creates the parts.

use std::sync::Arc;

use tokio::sync::mpsc;

use super::{
    error::StartError,
    options::{client_options, dispatcher_options, endpoints, url_policy},
    parts::{PartOptions, Parts},
};
use crate::{
    cluster::PresenceOptions,
    commands::CommandOptions,
    config::Settings,
    domain::IncarnationId,
    fanout::{Fanout, FanoutError, FanoutEvent, FanoutOptions},
    store::{DatabaseAddress, NewEndpoint, Store, StoreError, StoreOptions},
    webhooks::{DeliveryCounters, Dispatcher, WebhookClient},
};

/// The parts of a gateway that has not started yet.
pub(super) struct OpenedGateway {
    pub(super) parts: Parts,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// Messages of peers; `None` without Redis.
    pub(super) incoming: Option<mpsc::Receiver<FanoutEvent>>,
}

/// Opens the database and creates the parts. Waits for another gateway that migrates the schema, or for a database
/// server that does not answer.
pub(super) async fn open(settings: &Settings) -> Result<OpenedGateway, StartError> {
    let client = WebhookClient::new(&client_options(settings))?;
    let opening = Store::open(StoreOptions {
        database: database_address(settings),
        readers: u32::try_from(settings.database.readers).unwrap_or(u32::MAX),
        incarnation: IncarnationId::random(),
        instance_name: settings.instance.id.clone(),
        queue_bytes: settings.store.queue,
        commit_timeout: settings.store.commit_timeout,
        lease: settings.presence.lease,
    });
    let store = Arc::new(opening.await?);
    configure_endpoints(&store, endpoints(settings))
        .await
        .map_err(StartError::Endpoints)?;
    let counters = DeliveryCounters::default();
    let dispatcher = Dispatcher::new(
        Arc::clone(&store),
        client,
        dispatcher_options(settings),
        counters.clone(),
    );
    let (fanout, incoming) = fanout(settings)?;
    let parts = Parts::new(
        store,
        fanout,
        PartOptions {
            instance_name: settings.instance.id.clone(),
            commands: CommandOptions {
                queue: settings.commands.queue,
                timeout: settings.commands.timeout,
            },
            presence: PresenceOptions {
                lease: settings.presence.lease,
                offline_grace: settings.presence.offline_grace,
            },
            url_policy: url_policy(settings),
            delivery_counters: counters,
        },
    );
    Ok(OpenedGateway {
        parts,
        dispatcher: Arc::new(dispatcher),
        incoming,
    })
}

/// Stores the endpoints of the settings in place of those that an earlier start stored, and releases the deliveries
/// that a killed run left claimed. Writes nothing if there are no endpoints at all.
async fn configure_endpoints(store: &Store, wanted: Vec<NewEndpoint>) -> Result<(), StoreError> {
    if wanted.is_empty() && store.endpoints().await?.is_empty() {
        return Ok(());
    }
    store.configure_endpoints(wanted).await
}

/// The handle for messages to other instances, and the receiver of their messages to this one; no receiver without
/// `redis.url`.
fn fanout(
    settings: &Settings,
) -> Result<(Fanout, Option<mpsc::Receiver<FanoutEvent>>), FanoutError> {
    let redis = &settings.redis;
    if redis.url.is_none() {
        return Ok((Fanout::none(), None));
    }
    let (fanout, incoming) = Fanout::connect(FanoutOptions {
        url: redis.url.as_str().to_owned(),
        shown: redis.url.to_string(),
        channel: redis.channel.clone(),
    })?;
    Ok((fanout, Some(incoming)))
}

/// The address of the database in the settings.
#[must_use]
pub fn database_address(settings: &Settings) -> DatabaseAddress {
    DatabaseAddress {
        url: settings.database.url.as_str().to_owned(),
        shown: settings.database.url.to_string(),
    }
}
