//! The tasks that run until the gateway stops.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{options::http_options, parts::Parts};
use crate::{
    config::Settings,
    device::{self, DeviceOptions},
    http,
    maintenance::{Maintenance, Retention},
    peers,
    supervision::essential,
    webhooks::Dispatcher,
};

/// The interval of the search for overdue commands, which is one small read.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);

/// The running tasks and their names in the log.
pub(super) type Tasks = Vec<(&'static str, JoinHandle<()>)>;

/// Spawns all tasks. They end some time after `stop` is cancelled.
pub(super) fn start(
    settings: &Settings,
    device_options: DeviceOptions,
    parts: &Parts,
    dispatcher: Arc<Dispatcher>,
    device_listener: TcpListener,
    http_listener: TcpListener,
    stop: &CancellationToken,
) -> Tasks {
    let http_options = http_options(settings);
    let http = http::serve(
        http_listener,
        http::router(parts.api(), http_options),
        http_options,
        stop.clone(),
        settings.shutdown.grace,
    );
    let devices = device::serve(
        device_listener,
        Arc::clone(&parts.sessions),
        Arc::clone(&parts.commands),
        device_options,
        stop.clone(),
    );
    let heartbeats = flush_heartbeats(
        Arc::clone(&parts.maintenance),
        settings.store.heartbeat_flush,
        stop.clone(),
    );
    let retention = Retention {
        reports: settings.retention.reports,
        debug_blobs: settings.retention.debug_blobs,
        commands: settings.retention.commands,
        webhooks: settings.retention.webhooks,
    };
    let every = settings.retention.interval;
    let purge = purge(
        Arc::clone(&parts.maintenance),
        retention,
        every,
        stop.clone(),
    );
    let overdue = end_overdue_commands(Arc::clone(&parts.maintenance), stop.clone());
    let evictions = peers::notify_evictions(Arc::clone(&parts.store), Arc::clone(&parts.fanout));
    let (membership, incarnation) = (Arc::clone(&parts.cluster), Arc::clone(&parts.cluster));
    let membership = async move { membership.run_membership().await };
    let incarnation = async move { incarnation.follow_incarnation().await };
    vec![
        spawn("device port", devices),
        spawn("http port", http),
        spawn("heartbeats", heartbeats),
        spawn("retention", purge),
        spawn("overdue commands", overdue),
        spawn("webhooks", dispatcher.run(stop.clone())),
        spawn("evictions", until_stopped(stop.clone(), evictions)),
        spawn("membership", until_stopped(stop.clone(), membership)),
        spawn("incarnation", until_stopped(stop.clone(), incarnation)),
    ]
}

/// Spawns a task whose panic ends the process.
fn spawn(
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) -> (&'static str, JoinHandle<()>) {
    (name, tokio::spawn(essential(name, task)))
}

async fn flush_heartbeats(maintenance: Arc<Maintenance>, every: Duration, stop: CancellationToken) {
    let mut ticks = ticks(every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = maintenance.flush_heartbeats().await {
            tracing::warn!(%error, "heartbeats not stored");
        }
    }
}

async fn purge(
    maintenance: Arc<Maintenance>,
    retention: Retention,
    every: Duration,
    stop: CancellationToken,
) {
    let mut ticks = ticks(every);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(purged) = stop.run_until_cancelled(maintenance.purge(retention)).await else {
            return;
        };
        match purged {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "rows past their retention deleted"),
            Err(error) => tracing::warn!(%error, "cannot delete rows past their retention"),
        }
    }
}

async fn end_overdue_commands(maintenance: Arc<Maintenance>, stop: CancellationToken) {
    let mut ticks = ticks(OVERDUE_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = maintenance.end_overdue_commands().await {
            tracing::warn!(%error, "cannot end overdue commands; they are not sent either way");
        }
    }
}

async fn until_stopped(stop: CancellationToken, work: impl Future<Output = ()>) {
    let _until_stopped = stop.run_until_cancelled(work).await;
}

fn ticks(every: Duration) -> Interval {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
