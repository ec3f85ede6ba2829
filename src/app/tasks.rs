//! The tasks that run until the gateway stops.

use std::{collections::HashMap, iter, sync::Arc, time::Duration};

use tokio::{
    net::TcpListener,
    task::JoinHandle,
    time::{Instant, Interval, MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::{
    certificates::TlsServers,
    options::{access_rules, http_options},
    parts::Parts,
};
use crate::{
    config::{HttpAuth, Settings},
    device::{self, DeviceOptions, DevicePorts},
    http,
    log_throttle::{self, LogThrottle},
    maintenance::{Maintenance, Retention, UnstoredHeartbeats},
    peers,
    store::DueLimits,
    supervision::essential,
    webhooks::Dispatcher,
};

/// The interval of the search for overdue commands, which is one small read.
const OVERDUE_EVERY: Duration = Duration::from_secs(1);

/// The longest time from the first purge to the second.
const SECOND_PURGE: Duration = Duration::from_mins(1);

/// The interval at which endpoints of webhooks may catch up: two small reads.
const CATCH_UP_EVERY: Duration = Duration::from_secs(1);

/// The interval of the search for surplus messages of webhooks, which reads an index of those that are pending.
const SURPLUS_EVERY: Duration = Duration::from_secs(5);

/// The interval of the search for deliveries that are too far ahead: two small reads for each endpoint.
const DUE_TIMES_EVERY: Duration = Duration::from_secs(10);

/// At most one line about surplus messages of an endpoint is logged in this time.
const SURPLUS_LOGGED_EVERY: Duration = Duration::from_mins(10);

/// While the database cannot commit, at most one line about each of these is logged in this time.
const OUTAGE_LOGGED_EVERY: Duration = Duration::from_mins(10);

/// The interval of the search for log lines that were left out.
const LOG_RESTS_EVERY: Duration = Duration::from_secs(1);

static UNSTORED_HEARTBEATS: LogThrottle = LogThrottle::every(OUTAGE_LOGGED_EVERY, |heartbeats| {
    tracing::warn!(heartbeats, "heartbeats not stored");
});

static FAILED_SEARCHES: LogThrottle = LogThrottle::every(OUTAGE_LOGGED_EVERY, |times| {
    tracing::warn!(
        times,
        "cannot end overdue commands; they are not sent either way"
    );
});

/// Counts messages. Some endpoints have a line of their own.
static SURPLUS: LogThrottle = LogThrottle::lines_in(10, SURPLUS_LOGGED_EVERY, |messages| {
    tracing::warn!(
        messages,
        "webhook messages expired, the oldest first: too many were pending"
    );
});

/// The running tasks and their names in the log.
pub(super) type Tasks = Vec<(&'static str, JoinHandle<()>)>;

/// The open ports.
pub(super) struct Listeners {
    pub(super) device: TcpListener,
    /// Present if there is a device port inside TLS, and then its TLS is, too.
    pub(super) device_tls: Option<TcpListener>,
    pub(super) http: TcpListener,
    pub(super) tls: TlsServers,
}

/// Spawns all tasks. They end some time after `stop` is cancelled.
pub(super) fn start(
    settings: &Settings,
    device_options: DeviceOptions,
    parts: &Parts,
    dispatcher: Arc<Dispatcher>,
    listeners: Listeners,
    stop: &CancellationToken,
) -> Tasks {
    let tls = listeners.tls.all();
    let http_options = http_options(settings);
    let http = http::serve(
        listeners.http,
        listeners.tls.http,
        http::router(
            parts.api(tls),
            http_options,
            access_rules(settings),
            &settings.http.base_path,
        ),
        http_options,
        stop.clone(),
        settings.shutdown.grace,
    );
    let devices = device::serve(
        DevicePorts {
            plain: listeners.device,
            encrypted: listeners.device_tls.zip(listeners.tls.device),
        },
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
        audit: settings.retention.audit,
    };
    let every = settings.retention.interval;
    let purge = purge(
        Arc::clone(&parts.maintenance),
        retention,
        every,
        stop.clone(),
    );
    let overdue = end_overdue_commands(Arc::clone(&parts.maintenance), stop.clone());
    let catch_up = catch_up_webhooks(Arc::clone(&parts.maintenance), stop.clone());
    let surplus = expire_webhook_messages(
        Arc::clone(&parts.maintenance),
        settings.webhooks.max_pending as u64,
        stop.clone(),
    );
    let disk = watch_disk(
        Arc::clone(&parts.maintenance),
        settings.store.disk_warning as u64,
    );
    let evictions = peers::notify_evictions(Arc::clone(&parts.store), Arc::clone(&parts.fanout));
    let (membership, incarnation) = (Arc::clone(&parts.cluster), Arc::clone(&parts.cluster));
    let membership = async move { membership.run_membership().await };
    let incarnation = async move { incarnation.follow_incarnation().await };
    let mut tasks = vec![
        spawn("log", until_stopped(stop.clone(), write_log_rests())),
        spawn("device port", devices),
        spawn("http port", http),
        spawn("heartbeats", heartbeats),
        spawn("retention", purge),
        spawn("disk space", until_stopped(stop.clone(), disk)),
        spawn("overdue commands", overdue),
        spawn("webhook catch-up", until_stopped(stop.clone(), catch_up)),
        spawn("webhook surplus", until_stopped(stop.clone(), surplus)),
        spawn("evictions", until_stopped(stop.clone(), evictions)),
        spawn("membership", until_stopped(stop.clone(), membership)),
        spawn("incarnation", until_stopped(stop.clone(), incarnation)),
    ];
    if settings.http.auth == HttpAuth::Required {
        let keys = Arc::clone(&parts.keys);
        let keys = async move { keys.run().await };
        tasks.push(spawn("keys", until_stopped(stop.clone(), keys)));
    }
    if settings.webhooks.enabled {
        let limits = dispatcher.due_limits();
        let due = correct_due_times(Arc::clone(&parts.maintenance), limits);
        tasks.push(spawn("webhook times", until_stopped(stop.clone(), due)));
        tasks.push(spawn("webhooks", dispatcher.run(stop.clone())));
    }
    tasks
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
        match maintenance.flush_heartbeats().await {
            Ok(0) => {}
            Ok(_) => UNSTORED_HEARTBEATS.write_rest(),
            Err(UnstoredHeartbeats { heartbeats, error }) => {
                if let Some(heartbeats) = UNSTORED_HEARTBEATS.admit_many(heartbeats) {
                    tracing::warn!(%error, heartbeats, "heartbeats not stored");
                } else {
                    tracing::debug!(%error, heartbeats, "heartbeats not stored");
                }
            }
        }
    }
}

/// Logs how many lines were left out once their interval is over: what causes them may have ended.
async fn write_log_rests() {
    let mut ticks = ticks(LOG_RESTS_EVERY);
    loop {
        ticks.tick().await;
        log_throttle::write_due();
    }
}

async fn watch_disk(maintenance: Arc<Maintenance>, warn_below: u64) {
    maintenance.watch_disk(warn_below).await;
}

async fn purge(
    maintenance: Arc<Maintenance>,
    retention: Retention,
    every: Duration,
    stop: CancellationToken,
) {
    for pause in purge_pauses(every) {
        let purged = async {
            sleep(pause).await;
            maintenance.purge(retention).await
        };
        let Some(purged) = stop.run_until_cancelled(purged).await else {
            return;
        };
        match purged {
            Ok(0) => {}
            Ok(rows) => tracing::info!(rows, "rows past their retention deleted"),
            Err(error) => tracing::warn!(%error, "cannot delete rows past their retention"),
        }
    }
}

/// The pauses before purges. The first purge deletes nothing by age, so the second is soon: with a long interval, a
/// gateway that is restarted often would never delete anything.
fn purge_pauses(every: Duration) -> impl Iterator<Item = Duration> {
    [Duration::ZERO, every.min(SECOND_PURGE)]
        .into_iter()
        .chain(iter::repeat(every))
}

async fn end_overdue_commands(maintenance: Arc<Maintenance>, stop: CancellationToken) {
    let mut ticks = ticks(OVERDUE_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let Err(error) = maintenance.end_overdue_commands().await else {
            FAILED_SEARCHES.write_rest();
            continue;
        };
        if let Some(times) = FAILED_SEARCHES.admit() {
            tracing::warn!(%error, times, "cannot end overdue commands; they are not sent either way");
        } else {
            tracing::debug!(%error, "cannot end overdue commands; they are not sent either way");
        }
    }
}

async fn catch_up_webhooks(maintenance: Arc<Maintenance>, stop: CancellationToken) {
    let mut ticks = ticks(CATCH_UP_EVERY);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Err(error) = maintenance.catch_up_webhooks().await {
            tracing::debug!(%error, "webhooks that are behind cannot catch up");
        }
    }
}

/// Expires surplus messages. Logs those of an endpoint at once, and later ones together.
async fn expire_webhook_messages(
    maintenance: Arc<Maintenance>,
    allowed: u64,
    stop: CancellationToken,
) {
    let mut ticks = ticks(SURPLUS_EVERY);
    let mut logged: HashMap<Uuid, Instant> = HashMap::new();
    let mut unlogged: HashMap<Uuid, u64> = HashMap::new();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        match maintenance.expire_webhook_messages(allowed).await {
            Ok(expired) => {
                for (id, messages) in expired {
                    *unlogged.entry(id).or_default() += messages;
                }
            }
            Err(error) => tracing::debug!(%error, "surplus messages of webhooks not deleted"),
        }
        logged.retain(|_, at| at.elapsed() < SURPLUS_LOGGED_EVERY);
        unlogged.retain(|id, messages| {
            let is_due = *messages > 0 && !logged.contains_key(id);
            if is_due {
                logged.insert(*id, Instant::now());
                if let Some(messages) = SURPLUS.admit_many(*messages) {
                    tracing::warn!(%id, messages, allowed, "webhook messages expired, the oldest first: too many were pending");
                } else {
                    tracing::debug!(%id, messages, allowed, "webhook messages expired, the oldest first: too many were pending");
                }
            }
            !is_due
        });
    }
}

/// Corrects the times of deliveries that were planned before the clock was set back.
async fn correct_due_times(maintenance: Arc<Maintenance>, limits: DueLimits) {
    let mut ticks = ticks(DUE_TIMES_EVERY);
    loop {
        ticks.tick().await;
        match maintenance.correct_due_times(limits).await {
            Ok(0) => {}
            Ok(queues) => {
                tracing::warn!(
                    queues,
                    "webhook deliveries were planned too far ahead, because the clock was set back; they are due now"
                );
            }
            Err(error) => tracing::debug!(%error, "times of webhook deliveries not corrected"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_purge_comes_soon_whatever_the_interval_is() {
        let day = Duration::from_hours(24);
        let pauses: Vec<_> = purge_pauses(day).take(4).collect();
        assert_eq!(pauses, [Duration::ZERO, SECOND_PURGE, day, day]);
        let second = Duration::from_secs(1);
        let pauses: Vec<_> = purge_pauses(second).take(3).collect();
        assert_eq!(pauses, [Duration::ZERO, second, second]);
    }
}
