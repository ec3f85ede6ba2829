//! Builds the parts, starts them, and stops them in order.

mod options;
mod parts;
mod system;
mod tasks;

use std::{
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    cluster::PresenceOptions,
    commands::CommandOptions,
    config::Settings,
    domain::DisconnectReason,
    fanout::{Fanout, FanoutError, FanoutOptions, Incoming},
    peers,
    signals::Signals,
    store::{DatabaseAddress, NewEndpoint, OpenError, Store, StoreError, StoreOptions},
    webhooks::{self, Dispatcher, Sender, SenderError},
};
use options::{device_options, dispatcher_options, endpoints, sender_options, webhook_rules};
pub(crate) use parts::{PartOptions, Parts};
use system::{listen, local, raise_open_files};
use tasks::{Tasks, start};

/// What the store gets to commit and close when the grace time is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// Why the gateway could not start. Each is one line that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store was opened and does not work.
    #[error("cannot set vehicles offline that an earlier life left online: {0}")]
    Recover(StoreError),
    /// The endpoints of the settings are not stored.
    #[error("cannot store the endpoints of webhooks.endpoints: {0}")]
    Endpoints(StoreError),
    /// Messages cannot be sent.
    #[error(transparent)]
    Webhooks(#[from] SenderError),
    /// Redis cannot be used.
    #[error(transparent)]
    Fanout(#[from] FanoutError),
    /// A port could not be opened.
    #[error("cannot listen on {key} = {address}: {source}")]
    Listen {
        /// The setting.
        key: &'static str,
        /// Its value.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Signals could not be watched.
    #[error("cannot watch for signals: {0}")]
    Signals(io::Error),
    /// The operating system allows fewer open files than the settings need.
    #[error(
        "device.max_connections = {wanted} and http.max_connections = {http} need {needed} open files, but this process may open {allowed}; lower them or raise the limit (ulimit -n)"
    )]
    OpenFiles {
        /// `device.max_connections`.
        wanted: usize,
        /// `http.max_connections`.
        http: usize,
        /// Files for those and the rest.
        needed: u64,
        /// The hard limit.
        allowed: u64,
    },
}

/// Runs the gateway until a signal ends it.
pub async fn run(settings: Settings) -> Result<ExitCode, StartError> {
    let started = Instant::now();
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let max_devices = raise_open_files(&settings)?;
    // It may wait for another gateway that migrates, or for a server that does not answer.
    let (parts, dispatcher, incoming) = tokio::select! {
        opened = open(&settings) => opened?,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped before the database was open");
            return Ok(ExitCode::FAILURE);
        }
    };
    let lost = parts
        .maintenance
        .end_lost_sessions()
        .await
        .map_err(StartError::Recover)?;
    if lost > 0 {
        tracing::warn!(
            vehicles = lost,
            "set offline what an earlier life of this process left online (instance-lost)"
        );
    }
    parts.cluster.join_fanout().await;
    let device_listener = listen("device.listen", settings.device.listen)?;
    let http_listener = listen("http.listen", settings.http.listen)?;
    tracing::info!(
        device = %local(&device_listener, settings.device.listen),
        http = %local(&http_listener, settings.http.listen),
        instance = %parts.instance.name(),
        id = %parts.instance.incarnation(),
        database = %settings.database.url,
        after_ms = started.elapsed().as_millis(),
        "ready"
    );
    if !settings.http.listen.ip().is_loopback() {
        tracing::warn!(listen = %settings.http.listen, "the API has no keys: whoever reaches http.listen can read, command and delete vehicles");
    }

    let stop = CancellationToken::new();
    if let Some(incoming) = incoming {
        // Until the end of the process: others may ask for what is still here while this one stops.
        tokio::spawn(peers::serve(incoming, parts.handlers()));
    }
    let tasks = start(
        &settings,
        device_options(&settings, max_devices),
        &parts,
        dispatcher,
        device_listener,
        http_listener,
        &stop,
    );
    let fenced = tokio::select! {
        signal = signals.next() => {
            parts.instance.drain();
            if !drain(signal, settings.shutdown.drain_delay, &mut signals).await {
                return Ok(ExitCode::FAILURE);
            }
            tracing::info!(signal, grace = %humantime::format_duration(settings.shutdown.grace), "stopping: no new connections, finishing what is in flight");
            false
        }
        () = parts.store.fenced() => {
            tracing::error!(instance = %parts.instance.name(), "stopping: another gateway was started with this instance.id on this database; two instances need two names");
            parts.instance.drain();
            // Without a word: the vehicles may be elsewhere.
            parts.sessions.close_connections(DisconnectReason::InstanceLost);
            true
        }
    };
    stop.cancel();
    tokio::select! {
        finished = finish(&parts, tasks, settings.shutdown.grace) => {
            tracing::info!(everything_stored = finished && !fenced, "stopped");
            Ok(if finished && !fenced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        signal = signals.next() => {
            tracing::warn!(signal, "second signal: exiting at once");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Opens the store, and the way to other instances with what comes by it.
async fn open(
    settings: &Settings,
) -> Result<(Parts, Arc<Dispatcher>, Option<mpsc::Receiver<Incoming>>), StartError> {
    let sender = Sender::new(&sender_options(settings))?;
    let opening = Store::open(StoreOptions {
        database: database_address(settings),
        readers: u32::try_from(settings.database.readers).unwrap_or(u32::MAX),
        incarnation: Uuid::new_v4(),
        instance_name: settings.instance.id.clone(),
        queue_bytes: settings.store.queue,
        commit_timeout: settings.store.commit_timeout,
        lease: settings.presence.lease,
    });
    let store = Arc::new(opening.await?);
    configure_endpoints(&store, endpoints(settings))
        .await
        .map_err(StartError::Endpoints)?;
    let counts = webhooks::Counts::default();
    let dispatcher = Dispatcher::new(
        Arc::clone(&store),
        sender,
        dispatcher_options(settings),
        counts.clone(),
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
            webhook_rules: webhook_rules(settings),
            webhook_counts: counts,
        },
    );
    Ok((parts, Arc::new(dispatcher), incoming))
}

/// Makes the endpoints of the settings those that are stored, and ends what a killed life of this file had under way. Where
/// there are no endpoints at all nothing is written.
async fn configure_endpoints(store: &Store, wanted: Vec<NewEndpoint>) -> Result<(), StoreError> {
    if wanted.is_empty() && store.endpoints().await?.is_empty() {
        return Ok(());
    }
    store.configure_endpoints(wanted).await
}

/// Gives balancers time to send new connections elsewhere; false if a second signal ends it all.
async fn drain(signal: &str, delay: Duration, signals: &mut Signals) -> bool {
    if delay.is_zero() {
        return true;
    }
    tracing::info!(signal, delay = %humantime::format_duration(delay), "draining: still accepting, while /ready/balancer is 404");
    tokio::select! {
        () = tokio::time::sleep(delay) => true,
        signal = signals.next() => {
            tracing::warn!(signal, "second signal: exiting at once");
            false
        }
    }
}

/// The way to other instances, and what comes by it.
fn fanout(settings: &Settings) -> Result<(Fanout, Option<mpsc::Receiver<Incoming>>), FanoutError> {
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

/// Where the settings say that the database is.
#[must_use]
pub fn database_address(settings: &Settings) -> DatabaseAddress {
    DatabaseAddress {
        url: settings.database.url.as_str().to_owned(),
        shown: settings.database.url.to_string(),
    }
}

/// Waits for everything to end, at most `grace` and a moment for the store; false if something is
/// not stored.
async fn finish(parts: &Parts, tasks: Tasks, grace: Duration) -> bool {
    let started = Instant::now();
    let all = async {
        for (part, task) in tasks {
            if let Err(error) = task.await {
                tracing::error!(part, %error, "a part of the gateway ended badly");
            }
        }
    };
    if tokio::time::timeout(grace, all).await.is_err() {
        let connections = parts.sessions.connections();
        tracing::warn!(
            connections,
            ?grace,
            "shutdown.grace is over; closing the rest as it is"
        );
    }
    let left = grace.saturating_sub(started.elapsed()).max(CLOSE_TIMEOUT);
    let close = async {
        parts.fanout.close().await;
        parts.store.close().await
    };
    match tokio::time::timeout(left, close).await {
        Ok(Ok(())) => true,
        Ok(Err(error)) => {
            tracing::error!(%error, "the store did not close well");
            false
        }
        Err(_elapsed) => {
            tracing::error!("the database cannot commit; what waited for it is lost");
            false
        }
    }
}
