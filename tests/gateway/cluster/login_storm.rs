//! Concurrent logins of each vehicle at random instances.

use std::{collections::BTreeSet, iter::zip, net::SocketAddr, time::Duration};

use fastrand::Rng;
use serde_json::Value;
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::audited_with;
use crate::{
    history::seeded_rng,
    support::{
        AsyncDevice, Cluster, Daemon, Database, Dialect, GatewayMessage, PATIENCE, hello,
        on_every_server, wait_until,
    },
};

const VEHICLES: usize = 64;
const LOGINS: usize = 50;
const INSTANCES: usize = 3;
/// Room for all connections on one instance.
const ROOM: &str = "device.max_connections=4000";

on_every_server! {
    concurrent_logins_count_once_each_and_leave_one_session,
}

/// Logs in; `None` if a later login closed the connection before the greeting.
///
/// There is no other outcome: each instance has room for all connections, and the database works. The login counts
/// whether or not the greeting still finds the connection open.
async fn log_in(address: SocketAddr, id: String, pretend: SocketAddr) -> Option<AsyncDevice> {
    let line = AsyncDevice::connect(address, Some(pretend), Dialect::Text, &id).await;
    let mut line = line.unwrap();
    line.say(&hello(&id)).await.unwrap();
    match line.hear().await {
        Some(GatewayMessage::Reply(reply)) => {
            assert_eq!(reply, "HI, NICE TO MEET YOU!");
            Some(line)
        }
        Some(other) => panic!("{other:?}"),
        None => None,
    }
}

/// All logins of one vehicle, at once; returns the connections that were greeted.
async fn storm(number: usize, instances: Vec<SocketAddr>, mut rng: Rng) -> Vec<AsyncDevice> {
    let mut under_way = JoinSet::new();
    for login in 0..LOGINS {
        let byte = |number: usize| u8::try_from(number).unwrap();
        let pretend = SocketAddr::from(([10, 0, byte(number), byte(login)], 1024));
        let address = instances[rng.usize(..instances.len())];
        under_way.spawn(log_in(address, id_of(number), pretend));
    }
    under_way.join_all().await.into_iter().flatten().collect()
}

fn id_of(number: usize) -> String {
    format!("truck-{number}")
}

/// The connections that the gateway leaves open.
async fn still_open(mut lines: Vec<AsyncDevice>) -> Vec<AsyncDevice> {
    let until = Instant::now() + PATIENCE;
    // All but the newest are closed eventually, and the newest never is.
    while lines.len() > 1 && Instant::now() < until {
        let mut open = Vec::new();
        for mut line in lines {
            let soon = until.min(Instant::now() + Duration::from_millis(20));
            match timeout_at(soon, line.hear()).await {
                Ok(None) => {}
                Ok(Some(other)) => panic!("{other:?}"),
                Err(_elapsed) => open.push(line),
            }
        }
        lines = open;
    }
    for line in &mut lines {
        line.say("PING.").await.unwrap();
        assert_eq!(
            line.hear().await,
            Some(GatewayMessage::Reply("PONG.".to_owned()))
        );
    }
    lines
}

/// The epochs of a vehicle's logins in the log.
fn logged_epochs(log: &[Value], id: &str) -> Vec<usize> {
    let connected =
        |line: &&Value| line["message"] == "vehicle connected" && line["device_id"] == id;
    log.iter()
        .filter(connected)
        .map(|line| usize::try_from(line["epoch"].as_u64().unwrap()).unwrap())
        .collect()
}

fn numbers(texts: &[String]) -> Vec<usize> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn is_strictly_increasing(numbers: &[usize]) -> bool {
    numbers.is_sorted_by(|before, after| before < after)
}

/// The log lines of refused logins.
fn refusals(log: &[Value]) -> Vec<&Value> {
    let is_refusal = |line: &&Value| {
        let message = line["message"].as_str().unwrap_or_default();
        ["refused", "could not be stored", "cannot accept"]
            .iter()
            .any(|part| message.contains(part))
    };
    log.iter().filter(is_refusal).collect()
}

fn concurrent_logins_count_once_each_and_leave_one_session(database: &Database) {
    let cluster = audited_with(database, INSTANCES, &[ROOM]);
    let addresses = (0..INSTANCES).map(|index| cluster.addresses(index)[0]);
    let instances: Vec<SocketAddr> = addresses.collect();
    let runtime = Runtime::new().unwrap();
    let mut rng = seeded_rng();
    let storms: Vec<_> = (0..VEHICLES)
        .map(|number| runtime.spawn(storm(number, instances.clone(), rng.fork())))
        .collect();
    let greeted: Vec<Vec<AsyncDevice>> = runtime.block_on(async {
        let mut all = Vec::new();
        for storm in storms {
            all.push(storm.await.unwrap());
        }
        all
    });
    let received: Vec<usize> = greeted.iter().map(Vec::len).collect();
    let left: Vec<Vec<AsyncDevice>> = runtime.block_on(async {
        let mut left = Vec::new();
        for lines in greeted {
            left.push(still_open(lines).await);
        }
        left
    });
    wait_until("one session for each vehicle is left", || {
        let held: u64 = cluster.instances().map(Daemon::connection_count).sum();
        (held == VEHICLES as u64).then_some(())
    });
    let log: Vec<Value> = (0..INSTANCES)
        .flat_map(|index| cluster.log(index))
        .collect();
    assert_eq!(refusals(&log), [&Value::Null; 0]);
    for (number, (lines, received)) in zip(&left, received).enumerate() {
        check(&cluster, &log, number, lines, received);
    }
    let online = "SELECT device_id FROM vehicles WHERE online AND instance_id IS NOT NULL";
    assert_eq!(cluster.query(online).len(), VEHICLES);
}

/// Checks the invariants of a vehicle after its storm: `greeted` connections were greeted, `left` are still open.
fn check(cluster: &Cluster, log: &[Value], number: usize, left: &[AsyncDevice], greeted: usize) {
    let id = id_of(number);
    let of = |column: &str| {
        let sql = format!("SELECT {column} FROM vehicles WHERE device_id = '{id}'");
        cluster.query(&sql)
    };
    assert_eq!(of("device_id"), [id.as_str()], "one row");
    assert_eq!(numbers(&of("session_epoch")), [LOGINS], "{id}");
    // Logins that share a batch leave one audit entry, that of the last.
    let noted = numbers(&cluster.query(&format!(
        "SELECT epoch FROM audit WHERE kind = 'session' AND device_id = '{id}' ORDER BY seq"
    )));
    assert!(is_strictly_increasing(&noted), "{id}: {noted:?}");
    assert_eq!(noted.last(), Some(&LOGINS), "{id}");
    // Every greeted login logs its epoch.
    let logged = logged_epochs(log, &id);
    let distinct: BTreeSet<usize> = logged.iter().copied().collect();
    assert_eq!(distinct.len(), logged.len(), "{id}: {logged:?}");
    assert_eq!(distinct.last(), Some(&LOGINS), "{id}");
    assert!(logged.len() >= greeted, "{id}: {logged:?}");
    let open: Vec<String> = left.iter().map(|line| line.address.to_string()).collect();
    assert_eq!(open.len(), 1, "{id}: {open:?}");
    assert_eq!(open, of("remote_addr"), "{id}: the newest wins");
    let sql = format!("SELECT seq FROM audit WHERE device_id = '{id}' AND NOT online");
    assert_eq!(cluster.query(&sql), [""; 0], "{id} was never offline");
}
