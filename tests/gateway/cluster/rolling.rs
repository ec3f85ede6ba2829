//! Restarts of all instances, one after the other, under load: nobody outside notices.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{runtime::Runtime, sync::watch, task::JoinSet, time::sleep};

use super::{offline, watched};
use crate::support::{
    Cluster, Database, Dialect, Line, Said, change, hello, on_every_server, wait_until,
};

const VEHICLES: usize = 24;
const CLIENTS: usize = 4;

on_every_server! {
    a_rolling_restart_is_noticed_by_no_client_and_by_no_vehicle_for_longer_than_a_reconnect,
    a_rolling_restart_goes_well_though_a_later_version_has_added_to_the_schema,
}

/// A vehicle that does what it is asked, and comes back as soon as it is sent away.
async fn loyal(balancer: SocketAddr, id: String, dialect: Dialect, over: watch::Receiver<bool>) {
    while !*over.borrow() {
        if let Ok(mut line) = Line::connect(balancer, None, dialect, &id).await
            && line.say(&hello(&id)).await.is_ok()
        {
            stay(&mut line).await;
        }
        // A balancer that has nobody left refuses at once.
        sleep(Duration::from_millis(20)).await;
    }
}

async fn stay(line: &mut Line) {
    while let Some(said) = line.hear().await {
        let Said::Command(sentence) = said else {
            continue;
        };
        let answer = match sentence.as_str() {
            "GOTTA GO." => "SEE YA!",
            "HOW'S IT GOING?" => "FINE. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.",
            _ => "DONE!",
        };
        if line.answer(answer).await.is_err() || answer == "SEE YA!" {
            return;
        }
    }
}

/// What clients were told: how often which status and problem.
type Told = Arc<Mutex<BTreeMap<String, usize>>>;

/// A client that asks one thing after the other.
async fn ask_on_and_on(
    balancer: SocketAddr,
    told: Told,
    over: watch::Receiver<bool>,
    mut rng: Rng,
) {
    let client = Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    while !*over.borrow() {
        let id = format!("truck-{}", rng.usize(..VEHICLES));
        let url = |path: &str| format!("http://{balancer}{path}");
        let request = match rng.u32(..4) {
            0 => client.get(url(&format!("/service/{id}/fetch-info"))),
            1 | 2 => client
                .post(url(&format!("/service/{id}/turnOn")))
                .json(&json!({})),
            _ => client.get(url("/vehicles?limit=10")),
        };
        let what = match request.send().await {
            Ok(response) => {
                let status = response.status().as_u16();
                let body: Value = response.json().await.unwrap_or_default();
                format!("{status} {}", body["type"].as_str().unwrap_or_default())
            }
            Err(error) => format!("nothing: {error:?}"),
        };
        *told.lock().unwrap().entry(what).or_default() += 1;
    }
}

/// Restarts all, and does something after the first.
fn roll(database: &Database, after_the_first: impl FnOnce(&Cluster)) {
    let mut cluster = watched(database, 3);
    let runtime = Runtime::new().unwrap();
    let (end, over) = watch::channel(false);
    let told = Told::default();
    let mut tasks = JoinSet::new();
    let (devices, http) = (cluster.device(), cluster.http());
    for number in 0..VEHICLES {
        let (id, dialect) = (format!("truck-{number}"), Dialect::BOTH[number % 2]);
        tasks.spawn_on(loyal(devices, id, dialect, over.clone()), runtime.handle());
    }
    let online = |cluster: &Cluster| {
        cluster
            .query("SELECT device_id FROM vehicles WHERE online AND instance_id IS NOT NULL")
            .len()
    };
    wait_until("all are there", || {
        (online(&cluster) == VEHICLES).then_some(())
    });
    for _ in 0..CLIENTS {
        let told = Arc::clone(&told);
        let client = ask_on_and_on(http, told, over.clone(), Rng::new());
        tasks.spawn_on(client, runtime.handle());
    }
    let mut after_the_first = Some(after_the_first);
    for index in 0..3 {
        cluster.restart(index);
        wait_until("all are back", || {
            (online(&cluster) == VEHICLES).then_some(())
        });
        if let Some(after) = after_the_first.take() {
            after(&cluster);
        }
    }
    end.send_replace(true);
    let told = told.lock().unwrap().clone();
    // Those are what became of a command: its vehicle was on its way, and took longer than the request could wait.
    let bad: Vec<_> = told
        .keys()
        .filter(|what| what.starts_with('5') || what.starts_with("nothing"))
        .filter(|what| !what.starts_with("504"))
        .collect();
    assert_eq!(bad, [""; 0], "{told:#?}");
    assert!(
        told.get("200 ").copied().unwrap_or_default() > 30,
        "{told:#?}"
    );
    for number in 0..VEHICLES {
        let id = format!("truck-{number}");
        assert_eq!(offline(&cluster, &id), 0, "{id}");
    }
}

fn a_rolling_restart_is_noticed_by_no_client_and_by_no_vehicle_for_longer_than_a_reconnect(
    database: &Database,
) {
    roll(database, |_cluster| {});
}

fn a_rolling_restart_goes_well_though_a_later_version_has_added_to_the_schema(database: &Database) {
    roll(database, |cluster| {
        let url = cluster.database_url();
        change(
            url,
            "ALTER TABLE vehicles ADD COLUMN of_a_later_version BIGINT",
        );
        change(
            url,
            "INSERT INTO seaql_migrations (version, applied_at) VALUES ('m20991231_000001_later', 0)",
        );
    });
}
