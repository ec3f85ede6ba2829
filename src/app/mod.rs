//! Runs the gateway: creates the parts, starts their tasks and stops them in order.
//!
//! The parts are the long-lived objects of a gateway, such as the store, the sessions and the commands. `exposure` warns
//! about who can reach or imitate what the gateway trusts; `startup` opens the database and Redis; `parts` creates the
//! parts and gives each what it needs; `options` translates the settings for them; `certificates` reads the files of TLS;
//! `system` opens ports and raises the limit of open files; `tasks` has the tasks that run until the gateway stops; `shutdown` drains and closes.

mod certificates;
mod error;
mod exposure;
mod options;
mod parts;
mod shutdown;
mod startup;
mod system;
mod tasks;

use std::{process::ExitCode, time::Instant};

use tokio_util::sync::CancellationToken;

use crate::{
    config::Settings,
    domain::DisconnectReason,
    log_throttle, peers,
    signals::{Hangups, Signals},
    supervision::essential,
    tls,
};
use certificates::TlsServers;
use startup::OpenedGateway;
use system::{BoundPort, BoundPorts};
use tasks::Listeners;

pub use error::StartError;
#[cfg(test)]
pub(crate) use parts::{PartOptions, Parts};
pub use startup::migrate;

/// Checks the files that the settings name, as a start does.
///
/// # Errors
///
/// The files that cannot be used.
pub fn check_files(settings: &Settings) -> Result<(), StartError> {
    TlsServers::open(settings).map(drop)
}

/// Runs the gateway until a signal ends it.
///
/// # Errors
///
/// The reason why it could not start.
pub async fn run(settings: Settings) -> Result<ExitCode, StartError> {
    let started = Instant::now();
    let mut signals = Signals::new().map_err(StartError::Signals)?;
    let hangups = Hangups::new().map_err(StartError::Signals)?;
    let tls_servers = TlsServers::open(&settings)?;
    let following = tls::keep_current(tls_servers.all(), hangups);
    tokio::spawn(essential("TLS files", following));
    let max_devices = system::raise_open_files(&settings)?;
    let BoundPorts {
        device: device_port,
        device_tls: device_tls_port,
        http: http_port,
    } = system::bind(&settings)?;
    // Before the database and Redis get their passwords.
    exposure::warn(&settings);
    let OpenedGateway {
        parts,
        dispatcher,
        incoming,
    } = tokio::select! {
        opened = startup::open(&settings) => opened?,
        signal = signals.next() => {
            tracing::warn!(signal, "stopped before the database was open");
            return Ok(ExitCode::FAILURE);
        }
    };
    let vehicles = parts
        .maintenance
        .end_lost_sessions()
        .await
        .map_err(StartError::Recover)?;
    if vehicles > 0 {
        tracing::warn!(
            vehicles,
            "sessions of the previous run ended (instance-lost)"
        );
    }
    parts.cluster.join_fanout().await;
    let device_listener = device_port.listen()?;
    let device_tls_listener = device_tls_port.map(BoundPort::listen).transpose()?;
    let http_listener = http_port.listen()?;
    let device_tls = device_tls_listener.as_ref().zip(settings.device.tls.listen);
    tracing::info!(
        device = %system::local(&device_listener, settings.device.listen),
        device_tls = device_tls.map(|(listener, configured)| display(system::local(listener, configured))),
        http = %system::local(&http_listener, settings.http.listen),
        instance = %parts.instance.name(),
        id = %parts.instance.incarnation(),
        database = %settings.database.url,
        after_ms = started.elapsed().as_millis(),
        "ready"
    );

    let stop = CancellationToken::new();
    if let Some(incoming) = incoming {
        // Not stopped by `stop`: peers may ask for vehicles that are still connected while this instance stops.
        let serving = peers::serve(incoming, parts.handlers());
        tokio::spawn(essential("peers", serving));
    }
    let tasks = tasks::start(
        &settings,
        options::device_options(&settings, max_devices),
        &parts,
        dispatcher,
        Listeners {
            device: device_listener,
            device_tls: device_tls_listener,
            http: http_listener,
            tls: tls_servers,
        },
        &stop,
    );
    let fenced = tokio::select! {
        signal = signals.next() => {
            parts.instance.drain();
            if !shutdown::drain(signal, settings.shutdown.drain_delay, &mut signals).await {
                return Ok(ExitCode::FAILURE);
            }
            tracing::info!(signal, grace = %humantime::format_duration(settings.shutdown.grace), "stopping: no new connections, finishing what is in flight");
            false
        }
        () = parts.store.fenced() => {
            tracing::error!(instance = %parts.instance.name(), "stopping: another gateway was started with this instance.id on this database; two instances need two names");
            parts.instance.drain();
            // Without a goodbye: the vehicles may be connected to other instances.
            parts.sessions.close_connections(DisconnectReason::InstanceLost);
            true
        }
    };
    stop.cancel();
    tokio::select! {
        finished = shutdown::finish(&parts, tasks, settings.shutdown.grace) => {
            log_throttle::write_all();
            tracing::info!(everything_stored = finished && !fenced, "stopped");
            Ok(if finished && !fenced { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        signal = signals.next() => {
            tracing::warn!(signal, "second signal: exiting at once");
            Ok(ExitCode::FAILURE)
        }
    }
}
