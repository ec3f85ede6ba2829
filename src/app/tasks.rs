//! What runs until the gateway stops.

use std::{sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::options::http_options;
use crate::{
    config::Settings,
    device::{self, DeviceOptions},
    http,
    service::{Retention, Service},
    webhooks::Dispatcher,
};

/// How often queued commands whose time is over are looked for: one small read.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);

/// What runs until the gateway stops, by name.
pub(super) type Parts = Vec<(&'static str, JoinHandle<()>)>;

pub(super) fn start(
    settings: &Settings,
    device_options: DeviceOptions,
    service: &Arc<Service>,
    dispatcher: Arc<Dispatcher>,
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
        webhooks: settings.retention.webhooks,
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
        ("webhooks", tokio::spawn(dispatcher.run(stop.clone()))),
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
