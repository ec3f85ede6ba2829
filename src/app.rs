//! Builds the parts, starts them, and stops them in order.

use std::{
    io,
    net::SocketAddr,
    process::ExitCode,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    config::{Settings, settings::ProxyProtocol},
    device::{self, Budget, DeviceOptions},
    domain::Timestamp,
    fanout::{Fanout, FanoutError, FanoutOptions, Incoming},
    http::{self, HttpOptions},
    protocol::Limits,
    service::{CommandOptions, Instance, PresenceOptions, Retention, Service},
    signals::Signals,
    store::{DatabaseAddress, OpenError, Store, StoreError, StoreOptions},
};

/// Devices that may connect if the settings leave it open.
const DEVICES: usize = 18_000;
/// Files the process has open beside its device connections: HTTP, database, log, listeners.
const OTHER_FILES: u64 = 128;
/// What the store gets to commit and close when the grace time is over.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// How often queued commands whose time is over are looked for: one small read.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);
/// Connections the operating system may complete before they are accepted.
const BACKLOG: u32 = 16_384;

/// Why the gateway could not start. Each is one line that an operator can act on.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store was opened and does not work.
    #[error("cannot set vehicles offline that an earlier life left online: {0}")]
    Recover(StoreError),
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
    let instance = Instance {
        name: settings.instance.id.clone(),
        started_at: Timestamp::now(),
    };
    let opening = Store::open(StoreOptions {
        database: database_address(&settings),
        readers: u32::try_from(settings.database.readers).unwrap_or(u32::MAX),
        life: Uuid::new_v4(),
        instance_name: instance.name.clone(),
        queue_bytes: settings.store.queue,
        commit_timeout: settings.store.commit_timeout,
        lease: settings.presence.lease,
    });
    // It may wait for another gateway that migrates, or for a server that does not answer.
    let store = tokio::select! {
        opened = opening => opened?,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped before the database was open");
            return Ok(ExitCode::FAILURE);
        }
    };
    let (fanout, incoming) = fanout(&settings)?;
    let service = Arc::new(Service::new(
        store,
        fanout,
        instance,
        settings.store.commit_timeout,
        CommandOptions {
            queue: settings.commands.queue,
            timeout: settings.commands.timeout,
        },
        PresenceOptions {
            lease: settings.presence.lease,
            offline_grace: settings.presence.offline_grace,
        },
    ));
    let lost = service
        .end_lost_sessions()
        .await
        .map_err(StartError::Recover)?;
    if lost > 0 {
        tracing::warn!(
            vehicles = lost,
            "set offline what an earlier life of this process left online (instance-lost)"
        );
    }
    let device_listener = listen("device.listen", settings.device.listen)?;
    let http_listener = listen("http.listen", settings.http.listen)?;
    tracing::info!(
        device = %local(&device_listener, settings.device.listen),
        http = %local(&http_listener, settings.http.listen),
        instance = %service.instance().name,
        id = %service.life(),
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
        tokio::spawn(Arc::clone(&service).hear(incoming));
    }
    let parts = start(
        &settings,
        device_options(&settings, max_devices),
        &service,
        device_listener,
        http_listener,
        &stop,
    );
    let fenced = tokio::select! {
        signal = signals.next() => {
            service.drain();
            if !drain(signal, settings.shutdown.drain_delay, &mut signals).await {
                return Ok(ExitCode::FAILURE);
            }
            tracing::info!(signal, grace = %humantime::format_duration(settings.shutdown.grace), "stopping: no new connections, finishing what is in flight");
            false
        }
        () = service.fenced() => {
            tracing::error!(instance = %service.instance().name, "stopping: another gateway was started with this instance.id on this database; two instances need two names");
            service.drain();
            true
        }
    };
    stop.cancel();
    tokio::select! {
        finished = finish(&service, parts, settings.shutdown.grace) => {
            tracing::info!(everything_stored = finished && !fenced, "stopped");
            Ok(if finished && !fenced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        signal = signals.next() => {
            tracing::warn!(signal, "second signal: exiting at once");
            Ok(ExitCode::FAILURE)
        }
    }
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

/// What runs until the gateway stops, by name.
type Parts = Vec<(&'static str, JoinHandle<()>)>;

fn start(
    settings: &Settings,
    device_options: DeviceOptions,
    service: &Arc<Service>,
    device_listener: TcpListener,
    http_listener: TcpListener,
    stop: &CancellationToken,
) -> Parts {
    let http_options = http_options(settings);
    let http = http::serve(
        http_listener,
        http::router(Arc::clone(service), http_options),
        http_options,
        stop.clone(),
        settings.shutdown.grace,
    );
    let devices = device::serve(
        device_listener,
        Arc::clone(service),
        device_options,
        stop.clone(),
    );
    let heartbeats = flush_heartbeats(
        Arc::clone(service),
        settings.store.heartbeat_flush,
        stop.clone(),
    );
    let retention = Retention {
        reports: settings.retention.reports,
        debug_blobs: settings.retention.debug_blobs,
        commands: settings.retention.commands,
    };
    let every = settings.retention.interval;
    let purge = purge(Arc::clone(service), retention, every, stop.clone());
    let overdue = end_overdue_commands(Arc::clone(service), stop.clone());
    vec![
        ("device port", tokio::spawn(devices)),
        ("http port", tokio::spawn(http)),
        ("heartbeats", tokio::spawn(heartbeats)),
        ("retention", tokio::spawn(purge)),
        ("overdue commands", tokio::spawn(overdue)),
        (
            "evictions",
            tokio::spawn(tell_evictions(Arc::clone(service), stop.clone())),
        ),
        (
            "presence",
            tokio::spawn(keep_watch(Arc::clone(service), stop.clone())),
        ),
        (
            "life",
            tokio::spawn(follow_life(Arc::clone(service), stop.clone())),
        ),
    ]
}

/// Waits for everything to end, at most `grace` and a moment for the store; false if something is
/// not stored.
async fn finish(service: &Service, parts: Parts, grace: Duration) -> bool {
    let started = Instant::now();
    let all = async {
        for (part, task) in parts {
            if let Err(error) = task.await {
                tracing::error!(part, %error, "a part of the gateway ended badly");
            }
        }
    };
    if tokio::time::timeout(grace, all).await.is_err() {
        let connections = service.connections();
        tracing::warn!(
            connections,
            ?grace,
            "shutdown.grace is over; closing the rest as it is"
        );
    }
    let left = grace.saturating_sub(started.elapsed()).max(CLOSE_TIMEOUT);
    match tokio::time::timeout(left, service.close()).await {
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

fn http_options(settings: &Settings) -> HttpOptions {
    let http = &settings.http;
    HttpOptions {
        header_timeout: http.header_timeout,
        max_connections: http.max_connections,
        max_body: http.max_body,
        request_timeout: http.request_timeout,
        command_timeout: settings.commands.timeout,
    }
}

/// How long a vehicle that is told goodbye may take to answer; at a stop at most half of the grace.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(5);

fn device_options(settings: &Settings, max_connections: usize) -> DeviceOptions {
    let device = &settings.device;
    DeviceOptions {
        limits: Limits {
            sentence: device.max_sentence,
            blob: device.max_blob,
        },
        proxy_sources: match device.proxy_protocol {
            ProxyProtocol::Off => None,
            ProxyProtocol::Required => Some(device.proxy_sources.clone()),
        },
        max_connections,
        max_bad_sentences: u32::try_from(device.max_bad_sentences).unwrap_or(u32::MAX),
        pipeline: device.pipeline,
        greeting_delay: device.greeting_delay,
        login_timeout: device.login_timeout,
        silence_timeout: device.silence_timeout,
        write_timeout: device.write_timeout,
        blob_timeout: device.blob_timeout,
        commit_timeout: settings.store.commit_timeout,
        goodbye_timeout: GOODBYE_TIMEOUT,
        shutdown_goodbye_timeout: GOODBYE_TIMEOUT.min(settings.shutdown.grace / 2),
        release_time: settings.shutdown.grace / 4,
        budget: Budget::new(device.buffer_budget),
    }
}

async fn flush_heartbeats(service: Arc<Service>, every: Duration, stop: CancellationToken) {
    let mut ticks = ticks(every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = service.flush_heartbeats().await {
            tracing::warn!(%error, "heartbeats are not stored");
        }
    }
}

async fn purge(
    service: Arc<Service>,
    retention: Retention,
    every: Duration,
    stop: CancellationToken,
) {
    let mut ticks = ticks(every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(purged) = stop.run_until_cancelled(service.purge(retention)).await else {
            return;
        };
        match purged {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "deleted what is older than its retention"),
            Err(error) => tracing::warn!(%error, "cannot delete what is older than its retention"),
        }
    }
}

async fn end_overdue_commands(service: Arc<Service>, stop: CancellationToken) {
    let mut ticks = ticks(OVERDUE_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = service.end_overdue_commands().await {
            tracing::warn!(%error, "overdue commands cannot be ended; they are not sent all the same");
        }
    }
}

async fn keep_watch(service: Arc<Service>, stop: CancellationToken) {
    let _until_stopped = stop.run_until_cancelled(service.keep_watch()).await;
}

async fn tell_evictions(service: Arc<Service>, stop: CancellationToken) {
    let _until_stopped = stop.run_until_cancelled(service.tell_evictions()).await;
}

async fn follow_life(service: Arc<Service>, stop: CancellationToken) {
    let _until_stopped = stop.run_until_cancelled(service.follow_life()).await;
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let bind = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        // A port of a process that just ended may be taken again at once.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bind().map_err(|source| StartError::Listen {
        key,
        address,
        source,
    })
}

fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

/// Raises the soft limit of open files to the hard one, and says how many devices may connect.
fn raise_open_files(settings: &Settings) -> Result<usize, StartError> {
    let wanted = settings.device.max_connections;
    let http = settings.http.max_connections;
    let other = OTHER_FILES + http as u64;
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files");
        u64::MAX
    });
    let possible = allowed.saturating_sub(other);
    if wanted.max(1) as u64 > possible {
        return Err(StartError::OpenFiles {
            wanted,
            http,
            needed: wanted.max(1) as u64 + other,
            allowed,
        });
    }
    if wanted > 0 {
        return Ok(wanted);
    }
    let most = usize::try_from(possible).unwrap_or(usize::MAX);
    if most < DEVICES {
        tracing::warn!(
            max_connections = most,
            "fewer devices than usual may connect: this process may open {allowed} files (ulimit -n)"
        );
    }
    Ok(most.min(DEVICES))
}
