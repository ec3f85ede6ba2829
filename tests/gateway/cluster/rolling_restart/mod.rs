//! Rolling restarts under load: clients and vehicles must not notice.

mod clients;
mod vehicles;

use std::collections::BTreeMap;

use fastrand::Rng;
use tokio::runtime::Runtime;

use self::{
    clients::{ClientResponse, Clients},
    vehicles::Fleet,
};
use super::audited_with;
use crate::{
    history::seeded_rng,
    support::{Cluster, Database, change, migrate_as_later, on_every_server, wait_until},
};

const VEHICLES: usize = 24;
const CLIENTS: usize = 4;
/// Ten intervals of the balancer's checks. It must see the drain before the port closes, also on a busy machine: a
/// request that it forwards too late is cut off.
const DRAIN: &str = "shutdown.drain_delay=2s";

on_every_server! {
    clients_notice_nothing_and_vehicles_only_a_reconnect,
    restarts_survive_a_schema_extended_by_a_later_version,
    a_stopping_instance_still_answers_its_requests,
}

fn id_of(vehicle: usize) -> String {
    format!("truck-{vehicle}")
}

/// A cluster under load.
struct Run {
    cluster: Cluster,
    runtime: Runtime,
    fleet: Fleet,
    clients: Clients,
}

impl Run {
    fn start(database: &Database) -> Self {
        let cluster = audited_with(database, 3, &[DRAIN]);
        let runtime = Runtime::new().unwrap();
        let mut rng: Rng = seeded_rng();
        let within = runtime.enter();
        let fleet = Fleet::start(cluster.device(), &mut rng);
        wait_for_all(&cluster);
        let clients = Clients::start(cluster.http(), &mut rng);
        drop(within);
        let run = Self {
            cluster,
            runtime,
            fleet,
            clients,
        };
        run.wait_for_progress();
        run
    }

    /// Waits until each vehicle has another acknowledgement, and the clients have more responses.
    fn wait_for_progress(&self) {
        let (acknowledgements, answers) = (self.fleet.acknowledgements(), self.clients.count());
        wait_until("vehicles and clients make progress", || {
            let further = self.fleet.acknowledgements();
            let all = acknowledgements
                .iter()
                .zip(&further)
                .all(|(before, now)| now > before);
            (all && self.clients.count() > answers + 10).then_some(())
        });
    }

    fn restart_all(&mut self) {
        for index in 0..3 {
            self.cluster.restart(index);
            wait_for_all(&self.cluster);
            self.wait_for_progress();
        }
    }

    /// Checks the invariants after the run. Vehicles still report meanwhile.
    fn verify(self) {
        let answers = self.runtime.block_on(self.clients.stop());
        let cluster = &self.cluster;
        wait_until("every command has ended", || {
            let open = cluster.query("SELECT id FROM commands WHERE finished_at IS NULL");
            open.is_empty().then_some(())
        });
        let offline = "SELECT device_id FROM audit WHERE kind = 'session' AND device_id LIKE 'truck-%' AND NOT online";
        assert_eq!(cluster.query(offline), [""; 0]);
        let commands = commands(cluster);
        compare_outcomes(&answers, &commands);
        self.fleet.check(cluster, &commands);
        let done = answers.iter().filter(|answer| answer.state() == "done");
        assert!(done.count() > 30, "too little happened: {answers:#?}");
    }
}

fn wait_for_all(cluster: &Cluster) {
    wait_until("all vehicles are online", || {
        let online = "SELECT device_id FROM vehicles WHERE online AND instance_id IS NOT NULL";
        (cluster.query(online).len() == VEHICLES).then_some(())
    });
}

/// A row of `commands`.
#[derive(Debug)]
struct Row {
    device_id: String,
    message: String,
    state: String,
    is_sent: bool,
    reply: String,
}

/// All commands by their ids.
fn commands(cluster: &Cluster) -> BTreeMap<String, Row> {
    let rows = cluster.query(
        "SELECT CONCAT(id, '|', device_id, '|', message, '|', state, '|', COALESCE(sent_at, 0), '|', COALESCE(reply, '')) \
         FROM commands",
    );
    let row = |text: &String| {
        let columns: Vec<String> = text.split('|').map(str::to_owned).collect();
        let [id, device_id, message, state, sent_at, reply] = columns.try_into().unwrap();
        let row = Row {
            device_id,
            message,
            state,
            is_sent: sent_at != "0",
            reply,
        };
        (id, row)
    };
    rows.iter().map(row).collect()
}

/// Expects that responses and stored commands match one to one.
fn compare_outcomes(answers: &[ClientResponse], rows: &BTreeMap<String, Row>) {
    let mut told: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for answer in answers.iter().filter(|answer| !answer.sentence.is_empty()) {
        let (id, sentence, state) = (&*answer.device_id, answer.sentence, answer.state());
        *told.entry((id, sentence, state)).or_default() += 1;
        // A response to fetch-info has no command id.
        let Some(command) = &answer.command else {
            continue;
        };
        let row = &rows[command];
        assert_eq!(
            (&*row.device_id, &*row.message, &*row.state),
            (id, sentence, state),
            "{command}: {answer:?}"
        );
        assert_eq!(
            row.reply,
            answer.reply.as_deref().unwrap_or_default(),
            "{answer:?}"
        );
    }
    let mut stored: BTreeMap<(&str, &str, &str), usize> = BTreeMap::new();
    for row in rows.values() {
        let key = (&*row.device_id, &*row.message, &*row.state);
        *stored.entry(key).or_default() += 1;
    }
    assert_eq!(
        told, stored,
        "each response has its command, and each command its response"
    );
}

fn clients_notice_nothing_and_vehicles_only_a_reconnect(database: &Database) {
    let mut run = Run::start(database);
    run.restart_all();
    run.verify();
}

/// A possible schema change of a later version: columns in the most written tables, with a default as CONTRIBUTING
/// demands, indexes on them, and a new table.
const ADDITIONS: [&str; 5] = [
    "ALTER TABLE vehicles ADD COLUMN of_a_later_version BIGINT DEFAULT 7 NOT NULL",
    "CREATE INDEX vehicles_later ON vehicles (of_a_later_version, device_id)",
    "ALTER TABLE reports ADD COLUMN of_a_later_version BIGINT DEFAULT 7 NOT NULL",
    "CREATE INDEX reports_later ON reports (device_id, of_a_later_version)",
    "CREATE TABLE later (id BIGINT NOT NULL PRIMARY KEY)",
];

/// The present program plays the older version; the test migrates as a later one would, while three instances write to
/// those tables. They continue with their prepared statements; then each is restarted and finds an unknown migration.
fn restarts_survive_a_schema_extended_by_a_later_version(database: &Database) {
    let mut run = Run::start(database);
    let url = run.cluster.database_url().to_owned();
    migrate_as_later(&url, "m20991231_000001_later", &ADDITIONS);
    // The later version uses its column beside the older instances.
    change(
        &url,
        "UPDATE vehicles SET of_a_later_version = 8 WHERE device_id = 'truck-0'",
    );
    run.wait_for_progress();
    run.restart_all();
    let registered = serde_json::json!({"deviceId": "registered"});
    assert_eq!(run.cluster.post("/vehicles", &registered).status(), 201);
    let of = |condition: &str| {
        run.cluster.query(&format!(
            "SELECT DISTINCT of_a_later_version FROM vehicles WHERE {condition}"
        ))
    };
    assert_eq!(
        of("device_id = 'truck-0'"),
        ["8"],
        "the column was overwritten"
    );
    assert_eq!(of("device_id <> 'truck-0'"), ["7"]);
    let reports = "SELECT DISTINCT of_a_later_version FROM reports";
    assert_eq!(run.cluster.query(reports), ["7"]);
    run.verify();
}

fn a_stopping_instance_still_answers_its_requests(database: &Database) {
    let mut cluster = Cluster::start(database, 2);
    // The balancer alternates, so one of two requests is at the stopping instance; both vehicles are at the other.
    let mut devices = ["first", "second"].map(|id| (id, cluster.log_in_at(1, id)));
    let client = reqwest::blocking::Client::new();
    let asked = devices.each_mut().map(|(id, device)| {
        let url = format!("http://{}/service/{id}/turnOn", cluster.http());
        let request = client.post(url);
        let asked = std::thread::spawn(move || request.send());
        device.expect("HEY YOU, RUN!");
        asked
    });
    cluster.instance(0).signal("TERM");
    cluster.balancer().logged("Server api/gateway-1 is DOWN");
    for (_, device) in &mut devices {
        device.say("DONE!");
    }
    for asked in asked {
        let answer = asked.join().unwrap().unwrap();
        let status = answer.status();
        assert_eq!(status, 200, "{:?}", answer.text());
    }
    assert!(cluster.wait_for_exit(0).success());
}
