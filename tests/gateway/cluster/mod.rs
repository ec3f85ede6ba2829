//! Several gateways on one database and one Redis.

mod balancer;
mod fanout;
mod fanout_faults;
mod login_storm;
mod membership;
mod outage_log;
mod outages;
mod remote_delivery;
mod rolling_restart;
mod session_end;

use std::{
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    history::audit_writes,
    support::{Cluster, Database, Device, wait_until},
};

/// Part of the log line of an instance that was declared dead.
const DECLARED_DEAD: &str = "declared dead";

/// A cluster whose database records every change of sessions and commands in the table `audit`.
fn audited(database: &Database, size: usize) -> Cluster {
    audited_with(database, size, &[])
}

/// Like [`audited`], with further settings for each instance.
fn audited_with(database: &Database, size: usize, settings: &[&str]) -> Cluster {
    let cluster = Cluster::start_with(database, size, settings);
    audit_writes(cluster.database_url());
    cluster
}

/// The number of times that a vehicle went offline.
fn offline_count(cluster: &Cluster, device_id: &str) -> usize {
    let sql = format!(
        "SELECT seq FROM audit WHERE kind = 'session' AND device_id = '{device_id}' AND NOT online"
    );
    cluster.query(&sql).len()
}

/// The stored epoch of a vehicle, and the incarnation that holds its session.
fn stored_session(cluster: &Cluster, device_id: &str) -> (String, String) {
    let column = |column| {
        let sql = format!("SELECT {column} FROM vehicles WHERE device_id = '{device_id}'");
        cluster.query(&sql).pop().unwrap_or_default()
    };
    (column("session_epoch"), column("instance_id"))
}

/// The id of an instance's current incarnation.
fn incarnation(cluster: &Cluster, index: usize) -> String {
    let info = cluster.instance(index).json("/");
    info["instance"]["id"].as_str().unwrap().to_owned()
}

/// A vehicle that answers every command with success at once.
struct ObedientVehicle {
    received: Arc<Mutex<Vec<String>>>,
}

impl ObedientVehicle {
    fn new(mut device: Device) -> Self {
        let received: Arc<Mutex<Vec<String>>> = Arc::default();
        let notes = Arc::clone(&received);
        thread::spawn(move || {
            while let Some(sentence) = device.line_or_end() {
                let answer = match sentence.as_str() {
                    "HEY YOU, RUN!" | "HEY YOU, REST!" => "DONE!",
                    "HOW'S IT GOING?" => "FINE. I'M HERE 1 2, RUNNING AND CHARGED AT 3%.",
                    "GOTTA GO." => "SEE YA!",
                    _ => continue,
                };
                notes.lock().unwrap().push(sentence);
                if !device.try_say(answer) {
                    break;
                }
            }
        });
        Self { received }
    }

    fn received(&self) -> Vec<String> {
        self.received.lock().unwrap().clone()
    }
}

#[test]
fn a_single_gateway_is_rediscovered_after_a_restart_and_a_kill() {
    let mut cluster = Cluster::start(&Database::mariadb(), 1);
    let mut device = cluster.log_in("truck");
    device.ping();
    assert_eq!(cluster.get("/vehicles/truck").status(), 200);
    cluster.restart(0);
    device.expect("GOTTA GO.");
    cluster.log_in_at(0, "truck");
    cluster.kill(0);
    cluster.start_instance(0);
    cluster.log_in_at(0, "truck");
    let epoch = cluster.query("SELECT session_epoch FROM vehicles");
    assert_eq!(epoch, ["3"]);
    let body = serde_json::json!({"deviceId": "other"});
    wait_until("the balancer forwards to it", || {
        (cluster.post("/vehicles", &body).status() == 201).then_some(())
    });
}
