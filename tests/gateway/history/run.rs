//! One run: a cluster under a workload and faults, then the end of all activity, then the check of its history.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::runtime::Runtime;

use super::{
    checker,
    environment::print,
    faults,
    observer::{CommitClock, Observer},
    record::{
        Change, DeviceEvent, Fault, History, HttpResult, Moment, RunClock, StoredKind,
        VehicleAction, WebhookDelivery,
    },
    violation_report::{describe, log_moment},
    workload::{DeviceAddresses, Fleet, HttpAddresses, HttpClients},
};
use crate::support::{Cluster, Daemon, Database, LEASE, Receiver};

/// How long a run may take after its last fault until nothing is left to do. What is left then, the checks find.
const QUIET_TIMEOUT: Duration = Duration::from_mins(1);

/// More attempts than a run has time for, so that no message fails for good.
const RETRY_SCHEDULE: &str = r#"webhooks.retry_schedule=["0s", "500ms", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]"#;

/// The parameters of a run.
pub(super) struct Run {
    pub(super) seed: u64,
    pub(super) instances: usize,
    pub(super) vehicles: usize,
    pub(super) clients: usize,
    pub(super) length: Duration,
    pub(super) with_faults: bool,
}

impl Run {
    /// Executes the run, and panics with a report if its history violates an invariant.
    pub(super) fn execute(&self, database: &Database) {
        print(&format!("VEHICLE_GATEWAY_SEED={}", self.seed));
        let mut rng = Rng::with_seed(self.seed);
        let plan = if self.with_faults {
            faults::plan(&mut rng, self.length, self.instances)
        } else {
            Vec::new()
        };
        let receiver = Receiver::start(|_| 200);
        let mut cluster = self.start_cluster(database, &receiver);
        let runtime = Runtime::new().unwrap();
        let _context = runtime.enter();
        let observer = runtime.block_on(Observer::connect(cluster.database_url()));
        runtime.block_on(observer.install_triggers());

        let clock = RunClock::start();
        let poller = runtime.block_on(Observer::connect(cluster.database_url()));
        let commit_clock = CommitClock::start(poller, clock);
        let began = Instant::now();
        let device_addresses = self.device_addresses(&cluster);
        let mut fleet = Fleet::start(self.vehicles, &device_addresses, clock, &mut rng);
        let http_addresses = self.http_addresses(&cluster);
        let clients =
            HttpClients::start(self.clients, self.vehicles, http_addresses, clock, &mut rng);
        let mut history = History {
            instances: self.instances,
            faults: faults::inject(&mut cluster, &plan, clock),
            ..History::default()
        };
        std::thread::sleep(self.length.saturating_sub(began.elapsed()));

        runtime.block_on(clients.stop(&mut history));
        fleet.settle();
        runtime.block_on(wait_until_quiet(&observer, self.vehicles));
        let alive = runtime.block_on(fleet.count());
        history.connection_count = connection_count(&cluster, alive.len() as u64);
        let commit_times = runtime.block_on(commit_clock.stop());
        runtime.block_on(observer.read(clock, &commit_times, &mut history));
        drop(alive);
        history.deliveries = deliveries(&receiver);
        history.observations = fleet.observations();
        history.end = clock.now();
        history.killed = killed_incarnations(&history);
        self.check(&cluster, clock, &history);
    }

    fn start_cluster(&self, database: &Database, receiver: &Receiver) -> Cluster {
        let endpoint = receiver.setting(&["online", "offline", "debug-blob", "command"]);
        let settings = [
            // A device that sends nothing is closed within the run.
            "device.silence_timeout=30s",
            // Lines about single sentences would displace the others.
            "log.filter=info",
            // A message whose sender was suspended is sent again within the run.
            "webhooks.timeout=2s",
            RETRY_SCHEDULE,
            &endpoint,
        ];
        Cluster::start_with(database, self.instances, &settings)
    }

    fn device_addresses(&self, cluster: &Cluster) -> DeviceAddresses {
        let instances = 0..self.instances;
        DeviceAddresses {
            balancer: cluster.device(),
            instances: instances.map(|index| cluster.addresses(index)[0]).collect(),
        }
    }

    fn http_addresses(&self, cluster: &Cluster) -> HttpAddresses {
        let instances = 0..self.instances;
        let mut http = vec![cluster.http()];
        http.extend(instances.map(|index| cluster.addresses(index)[1]));
        HttpAddresses {
            http,
            redis: cluster.redis().address(),
        }
    }

    fn check(&self, cluster: &Cluster, clock: RunClock, history: &History) {
        self.assert_enough_happened(history);
        let violations = checker::check(history);
        let Some(first) = violations.first() else {
            return;
        };
        let log: Vec<_> = (0..self.instances)
            .flat_map(|index| cluster.log_read(index))
            .filter_map(|line| Some((log_moment(clock, &line)?, line)))
            .collect();
        let mut all = String::new();
        for violation in &violations {
            all += &describe(history, &log, violation);
            all.push('\n');
        }
        let file =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}.txt", self.seed));
        fs::write(&file, all).unwrap();
        panic!(
            "VEHICLE_GATEWAY_SEED={}: {} violations, all of them in {}; the first one:\n\n{}",
            self.seed,
            violations.len(),
            file.display(),
            describe(history, &log, first)
        );
    }

    /// Panics if the run did so little that it proves nothing.
    fn assert_enough_happened(&self, history: &History) {
        let acknowledged = history
            .observations
            .values()
            .flatten()
            .filter(|observation| matches!(observation.event, DeviceEvent::Acknowledged(_)))
            .count();
        let done = history
            .command_rows
            .iter()
            .filter(|row| row.state == "done")
            .count();
        let requests = |is_action: fn(&VehicleAction) -> bool, expected| {
            let requests = history.vehicle_requests.iter();
            requests
                .filter(|request| is_action(&request.action))
                .filter(|request| {
                    matches!(request.result, HttpResult::Response { status, .. } if status == expected)
                })
                .count()
        };
        let reports = requests(|action| matches!(action, VehicleAction::Report(_)), 200);
        let deletions = requests(|action| *action == VehicleAction::Delete, 204);
        let rows = history.stored_rows.iter();
        let blobs = rows.filter(|row| row.kind == StoredKind::Blob).count();
        print(&format!(
            "{acknowledged} acknowledgements, {reports} reports over HTTP, {blobs} blobs, {deletions} deletions, \
             {} command requests, {done} of {} commands done, {} faults, {} audit entries",
            history.command_requests.len(),
            history.command_rows.len(),
            history.faults.len(),
            history.audit.len()
        ));
        assert!(
            acknowledged > 10 * self.vehicles
                && done > self.vehicles
                && reports.min(blobs) > 10
                && deletions > 2,
            "the run did too little to prove anything"
        );
    }
}

fn deliveries(receiver: &Receiver) -> Vec<WebhookDelivery> {
    let messages = receiver.received().into_iter();
    messages
        .map(|message| WebhookDelivery {
            device_id: message.device_id().to_owned(),
            sequence: message.sequence(),
            kind: message.kind().to_owned(),
            id: message.id,
            body: message.raw,
        })
        .collect()
}

/// Returns the incarnations of instances that were killed, each with the first kill after its start.
fn killed_incarnations(history: &History) -> Vec<(String, Moment)> {
    let mut killed: Vec<(String, Moment)> = Vec::new();
    for window in &history.faults {
        let Fault::Kill(index) = window.fault else {
            continue;
        };
        let instance = format!("gateway-{}", index + 1);
        for entry in &history.audit {
            if let Change::Instance { id, name, .. } = &entry.change
                && *name == instance
                && entry.at < window.from
                && killed.iter().all(|(known, _)| known != id)
            {
                killed.push((id.clone(), window.from));
            }
        }
    }
    killed
}

/// Returns how many device connections the instances report. It waits for up to a lease until this is the expected
/// number, because an instance counts a closed connection until it has noticed the close.
fn connection_count(cluster: &Cluster, expected: u64) -> u64 {
    let since = Instant::now();
    loop {
        let count = cluster.instances().map(Daemon::connection_count).sum();
        if count == expected || since.elapsed() > LEASE {
            return count;
        }
    }
}

/// Waits until nothing was left to do for one lease: in that time every instance compares the database with its
/// sessions.
async fn wait_until_quiet(observer: &Observer, vehicles: usize) {
    let until = Instant::now() + QUIET_TIMEOUT;
    let mut since = None;
    while Instant::now() < until {
        if observer.is_quiet(vehicles).await {
            let since = *since.get_or_insert_with(Instant::now);
            if since.elapsed() > LEASE {
                return;
            }
        } else {
            since = None;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
