//! Runs of vehicles and HTTP clients while servers fail, and what must hold of them afterwards.
//!
//! Devices, clients and an endpoint of webhooks note what they see, the database notes what is written to it, somebody
//! looks when that is committed, and `check` compares all of it. A run is made from a seed, which is printed when something
//! is wrong: `VEHICLE_GATEWAY_SEED` makes the same run again, as far as the machine does. `VEHICLE_GATEWAY_CHAOS_SECONDS` makes it longer, `VEHICLE_GATEWAY_CHAOS_INSTANCES`
//! larger, and `VEHICLE_GATEWAY_CHAOS_DATABASE` may be `postgres`.

mod checker;
mod faults;
mod observer;
mod payload;
mod record;
mod violation_report;
mod workload;

use std::{
    fs,
    path::Path,
    str::FromStr,
    time::{Duration, Instant},
};

use fastrand::Rng;
use tokio::runtime::Runtime;

use crate::support::{Cluster, Daemon, Database, LEASE, Receiver};
use observer::Observer;
use observer::commit_clock::Witness;
pub(crate) use observer::watch;
use record::{Change, Clock, Delivery, Event, Fault, History, Kind, Moment, Told, Wish};
use violation_report::{moment_of, tell};
use workload::fleet::{Fleet, Places};
use workload::http_clients::Operators;

/// How long it may take until all is quiet once nothing is wrong any more. What is not quiet then is for the checks.
const QUIET: Duration = Duration::from_mins(1);

/// So many attempts that the run is over before the last one.
const RETRIES: &str = r#"webhooks.retry_schedule=["0s", "500ms", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s", "1s"]"#;

/// What a run is made of.
struct Run {
    seed: u64,
    instances: usize,
    vehicles: usize,
    clients: usize,
    length: Duration,
    with_faults: bool,
}

/// Shown with the test if it fails.
#[expect(clippy::print_stdout, reason = "the test runner keeps it")]
fn say(what: &str) {
    println!("{what}");
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    let text = std::env::var(name).ok()?;
    let value = text.parse();
    Some(value.unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

fn seed() -> u64 {
    setting("VEHICLE_GATEWAY_SEED").unwrap_or_else(|| fastrand::u64(..))
}

/// What a test chooses by: of a seed that is shown if it fails, and that `VEHICLE_GATEWAY_SEED` sets.
pub(crate) fn seeded() -> Rng {
    let seed = seed();
    say(&format!("VEHICLE_GATEWAY_SEED={seed}"));
    Rng::with_seed(seed)
}

/// An instance that was killed and the lives that it had until then.
fn killed(history: &History) -> Vec<(String, Moment)> {
    let mut killed = Vec::new();
    for trouble in &history.troubles {
        let Fault::Kill(index) = trouble.what else {
            continue;
        };
        let its_name = format!("gateway-{}", index + 1);
        for audit in &history.audit {
            if let Change::Instance { id, name, .. } = &audit.change
                && *name == its_name
                && audit.at < trouble.from
                && killed.iter().all(|(known, _)| known != id)
            {
                killed.push((id.clone(), trouble.from));
            }
        }
    }
    killed
}

impl Run {
    /// Does it, and stops the test with what is wrong, if anything is.
    fn check(&self, database: &Database) {
        say(&format!("seed {}", self.seed));
        let mut rng = Rng::with_seed(self.seed);
        let plan = if self.with_faults {
            faults::plan(&mut rng, self.length, self.instances)
        } else {
            Vec::new()
        };
        // A device that says nothing is gone soon; nobody's log is lost in lines about sentences.
        // What a gateway had sent when it stood still is sent again soon.
        let settings = [
            "device.silence_timeout=30s",
            "log.filter=info",
            "webhooks.timeout=2s",
            RETRIES,
        ];
        let receiver = Receiver::start(|_| 200);
        let endpoint = receiver.setting(&["online", "offline", "debug-blob", "command"]);
        let mut settings = settings.to_vec();
        settings.push(&endpoint);
        let mut cluster = Cluster::start_with(database, self.instances, &settings);
        let runtime = Runtime::new().unwrap();
        let _within = runtime.enter();
        let observer = runtime.block_on(Observer::connect(cluster.database_url()));
        runtime.block_on(observer.install());

        let clock = Clock::start();
        let second = runtime.block_on(Observer::connect(cluster.database_url()));
        let witness = Witness::start(second, clock);
        let began = Instant::now();
        let instances = 0..self.instances;
        let places = Places {
            balancer: cluster.device(),
            instances: instances
                .clone()
                .map(|index| cluster.addresses(index)[0])
                .collect(),
        };
        let mut http = vec![cluster.http()];
        http.extend(instances.clone().map(|index| cluster.addresses(index)[1]));
        let mut fleet = Fleet::start(self.vehicles, &places, clock, &mut rng);
        let redis = cluster.redis().address();
        let operators = Operators::start(self.clients, self.vehicles, http, redis, clock, &mut rng);
        let mut history = History {
            instances: self.instances,
            troubles: faults::cause(&mut cluster, &plan, clock),
            ..History::default()
        };
        std::thread::sleep(self.length.saturating_sub(began.elapsed()));

        runtime.block_on(operators.stop(&mut history));
        fleet.settle();
        runtime.block_on(quiet(&observer, self.vehicles));
        let still_open = runtime.block_on(fleet.count());
        history.held = held(&cluster, still_open.len() as u64);
        let commits = runtime.block_on(witness.stop());
        runtime.block_on(observer.read(clock, &commits, &mut history));
        drop(still_open);
        let deliveries = receiver.received().into_iter();
        history.deliveries = deliveries
            .map(|message| Delivery {
                device_id: message.device_id().to_owned(),
                sequence: message.sequence(),
                kind: message.kind().to_owned(),
                id: message.id,
                body: message.raw,
            })
            .collect();
        history.seen = fleet.seen();
        history.end = clock.now();
        history.killed = killed(&history);
        self.judge(&cluster, clock, &history);
    }

    fn judge(&self, cluster: &Cluster, clock: Clock, history: &History) {
        let thanked = history
            .seen
            .values()
            .flatten()
            .filter(|seen| matches!(seen.event, Event::Thanked(_)))
            .count();
        let done = history
            .commands
            .iter()
            .filter(|row| row.state == "done")
            .count();
        let told = |wish: fn(&Wish) -> bool, wanted| {
            let errands = history.errands.iter().filter(|errand| wish(&errand.wish));
            let told = errands.filter(
                |errand| matches!(errand.told, Told::Answer { status, .. } if status == wanted),
            );
            told.count()
        };
        let reports = told(|wish| matches!(wish, Wish::Report(_)), 200);
        let deletions = told(|wish| *wish == Wish::Delete, 204);
        let stored = history.stored.iter();
        let blobs = stored.filter(|row| row.kind == Kind::Blob).count();
        say(&format!(
            "{reports} reports over HTTP, {deletions} vehicles deleted, {blobs} blobs"
        ));
        say(&format!(
            "{thanked} thanks, {done} of {} commands done, {} requests, {} troubles, {} entries of the database",
            history.commands.len(),
            history.requests.len(),
            history.troubles.len(),
            history.audit.len()
        ));
        assert!(
            thanked > 10 * self.vehicles
                && done > self.vehicles
                && reports.min(blobs) > 10
                && deletions > 2,
            "so little happened that nothing is proved"
        );
        let violations = checker::violations(history);
        let Some(first) = violations.first() else {
            return;
        };
        let log: Vec<_> = (0..self.instances)
            .flat_map(|index| cluster.log(index))
            .filter_map(|line| Some((moment_of(clock, &line)?, line)))
            .collect();
        let mut all = String::new();
        for violation in &violations {
            all += &tell(history, &log, violation);
            all.push('\n');
        }
        let file =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("history-{}.txt", self.seed));
        fs::write(&file, all).unwrap();
        panic!(
            "VEHICLE_GATEWAY_SEED={} breaks what must hold, {} times; all of it is in {}\n\n{}",
            self.seed,
            violations.len(),
            file.display(),
            tell(history, &log, first)
        );
    }
}

/// How many connections of devices the instances count, once those that were closed are not among them.
fn held(cluster: &Cluster, expected: u64) -> u64 {
    let since = Instant::now();
    loop {
        let held = cluster.instances().map(Daemon::connection_count).sum();
        if held == expected || since.elapsed() > LEASE {
            return held;
        }
    }
}

/// Waits until nothing is left to be done, and nothing was for one lease: instances look after one another that often.
async fn quiet(observer: &Observer, vehicles: usize) {
    let until = Instant::now() + QUIET;
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

/// A run in which nothing fails, of so many seconds: it keeps the checks themselves honest.
fn quiet_run(database: &Database, seconds: u64) {
    let run = Run {
        seed: seed(),
        instances: 1,
        vehicles: 40,
        clients: 6,
        length: Duration::from_secs(setting("VEHICLE_GATEWAY_CHAOS_SECONDS").unwrap_or(seconds)),
        with_faults: false,
    };
    run.check(database);
}

mod the_invariants_hold_over_a_run_in_which_nothing_fails {
    use crate::support::Database;

    #[test]
    fn on_mariadb() {
        super::quiet_run(&Database::mariadb(), 20);
    }

    #[test]
    fn on_postgres() {
        super::quiet_run(&Database::postgres(), 10);
    }
}

#[test]
fn long_the_invariants_hold_over_a_seeded_run_of_kills_pauses_and_outages() {
    let run = Run {
        seed: seed(),
        instances: setting("VEHICLE_GATEWAY_CHAOS_INSTANCES").unwrap_or(3),
        vehicles: 60,
        clients: 8,
        length: Duration::from_secs(setting("VEHICLE_GATEWAY_CHAOS_SECONDS").unwrap_or(300)),
        with_faults: true,
    };
    let database = match setting::<String>("VEHICLE_GATEWAY_CHAOS_DATABASE").as_deref() {
        None | Some("mariadb") => Database::mariadb(),
        Some("postgres") => Database::postgres(),
        Some(other) => panic!("VEHICLE_GATEWAY_CHAOS_DATABASE is mariadb or postgres, not {other}"),
    };
    run.check(&database);
}
