//! Startup: opens the database and Redis, and creates the parts.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{sync::mpsc, time::sleep};

use super::{
    error::StartError,
    exposure::warn_about_database,
    options::{client_options, configured_keys, dispatcher_options, endpoints, url_policy},
    parts::{PartOptions, Parts},
};
use crate::{
    cluster::PresenceOptions,
    commands::CommandOptions,
    config::{HttpAuth, Settings},
    domain::IncarnationId,
    fanout::{Fanout, FanoutError, FanoutEvent, FanoutOptions},
    outage_reasons::{OutageReason, OutageReasons},
    store::{
        self, DatabaseAddress, DatabaseUse, NewEndpoint, OpenError, Store, StoreError, StoreOptions,
    },
    webhooks::{DeliveryCounters, Dispatcher, WebhookClient},
};

/// The parts of a gateway that has not started yet.
pub(super) struct OpenedGateway {
    pub(super) parts: Parts,
    pub(super) dispatcher: Arc<Dispatcher>,
    /// Messages of peers; `None` without Redis.
    pub(super) incoming: Option<mpsc::Receiver<FanoutEvent>>,
}

/// The pause between two attempts to open a database that is not there yet.
const RETRY_PAUSE: Duration = Duration::from_millis(500);

/// Opens the database and creates the parts. Waits for another gateway that migrates the schema, and for a database
/// server that is not there yet.
pub(super) async fn open(settings: &Settings) -> Result<OpenedGateway, StartError> {
    let client = WebhookClient::new(&client_options(settings))?;
    let opening = once_there(settings, async || {
        Store::open(StoreOptions {
            database: database_address(settings),
            readers: u32::try_from(settings.database.readers).unwrap_or(u32::MAX),
            incarnation: IncarnationId::random(),
            instance_name: settings.instance.id.clone(),
            queue_bytes: settings.store.queue,
            commit_timeout: settings.store.commit_timeout,
            lease: settings.presence.lease,
        })
        .await
    });
    let store = Arc::new(opening.await?);
    configure_endpoints(&store, endpoints(settings))
        .await
        .map_err(StartError::Endpoints)?;
    warn_about_webhooks(&store, settings).await;
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
            configured_keys: configured_keys(settings),
        },
    );
    if settings.http.auth == HttpAuth::Required {
        if let Err(error) = parts.keys.refresh().await {
            tracing::warn!(%error, "the keys of the database are not known yet: it does not answer");
        } else if !parts.keys.has_usable() {
            tracing::warn!(
                "nobody can use the API: http.auth is \"required\", and neither http.keys nor the database has a key that is still good; make one with vehicle-gateway keys new"
            );
        }
    }
    Ok(OpenedGateway {
        parts,
        dispatcher: Arc::new(dispatcher),
        incoming,
    })
}

/// Brings the schema of the database up to date and does nothing else.
///
/// # Errors
///
/// The reason why that failed.
pub async fn migrate(settings: &Settings) -> Result<(), StartError> {
    warn_about_database(settings);
    let address = database_address(settings);
    let migrating = once_there(settings, async || store::migrate(&address).await);
    Ok(migrating.await?)
}

/// Opens the database by `open`, again and again while its server is not there yet, for `database.wait` at most.
async fn once_there<T>(
    settings: &Settings,
    open: impl AsyncFn() -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let started = Instant::now();
    let mut reasons = OutageReasons::default();
    loop {
        // Boxed: the compiler limits how deep futures may nest, and an optimized build fails without it.
        let error = match Box::pin(open()).await {
            // A file is there, or will be made.
            Err(error) if !settings.database.url.is_file() && error.is_away() => error,
            opened => return opened,
        };
        let left = settings.database.wait.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(error);
        }
        match reasons.note(&error.to_string()) {
            OutageReason::First => {
                tracing::warn!(%error, at_most = %humantime::format_duration(settings.database.wait), "the database is not there yet: waiting for it");
            }
            OutageReason::Another => tracing::warn!(%error, "the database is still not there"),
            OutageReason::Known => tracing::debug!(%error, "the database is still not there"),
        }
        sleep(RETRY_PAUSE.min(left)).await;
    }
}

/// Stores the endpoints of the settings in place of those that an earlier start stored, and releases the deliveries
/// that a killed run left claimed. Writes nothing if there are no endpoints at all.
async fn configure_endpoints(store: &Store, wanted: Vec<NewEndpoint>) -> Result<(), StoreError> {
    if wanted.is_empty() && store.endpoints().await?.is_empty() {
        return Ok(());
    }
    store.configure_endpoints(wanted).await
}

/// Says that no webhooks are sent, or, before they are, that the database file is one that another instance sent them
/// from: a copy has the receivers of the original.
async fn warn_about_webhooks(store: &Store, settings: &Settings) {
    if !settings.webhooks.enabled {
        tracing::warn!("webhooks are not sent: webhooks.enabled is false");
        return;
    }
    if store.is_shared() {
        return;
    }
    let host = gethostname::gethostname();
    let own = DatabaseUse {
        instance: settings.instance.id.clone(),
        host: host.to_string_lossy().chars().take(MAX_HOST).collect(),
    };
    if let Err(error) = note_use(store, own).await {
        tracing::warn!(%error, "cannot note that this instance uses the database");
    }
}

/// The longest host name that is noted, in characters.
const MAX_HOST: usize = 255;

async fn note_use(store: &Store, own: DatabaseUse) -> Result<(), StoreError> {
    let last = store.last_use().await?;
    if last.as_ref() == Some(&own) {
        return Ok(());
    }
    let endpoints = store.endpoints().await?;
    let receivers = endpoints.iter().filter(|it| it.disabled.is_none()).count();
    if let Some(last) = last
        && receivers > 0
    {
        tracing::warn!(
            last_instance = last.instance,
            last_host = last.host,
            receivers,
            "the database was last used by another instance: if it is a copy, its webhooks are sent twice; stop, and set webhooks.enabled = false"
        );
    }
    store.note_use(own).await
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

fn database_address(settings: &Settings) -> DatabaseAddress {
    DatabaseAddress {
        url: settings.database.url.as_str().to_owned(),
        shown: settings.database.url.to_string(),
    }
}
