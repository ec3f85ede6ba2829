//! Many logins at once, wherever they come in.

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
/// All may come to the same instance.
const ROOM: &str = "device.max_connections=4000";

on_every_server! {
    concurrent_logins_count_once_each_and_leave_one_session,
}

/// A login that was greeted, or overtaken before.
///
/// Nothing else may become of it: an instance has room for all, so that it takes each connection, and its store is well.
/// What it says is then a login, whether or not the greeting still finds the connection open.
async fn log_in(address: SocketAddr, id: String, pretend: SocketAddr) -> Option<AsyncDevice> {
    let line = AsyncDevice::connect(address, Some(pretend), Dialect::Text, &id).await;
    let mut line = line.unwrap();
    line.say(&hello(&id)).await.unwrap();
    match line.hear().await {
        Some(GatewayMessage::Reply(reply)) => {
            assert_eq!(reply, "HI, NICE TO MEET YOU!");
            Some(line)
        }
        Some(said) => panic!("{said:?}"),
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

/// Those of these that the gateway has left open.
async fn still_open(mut lines: Vec<AsyncDevice>) -> Vec<AsyncDevice> {
    let until = Instant::now() + PATIENCE;
    // All but the newest are closed, sooner or later, and the newest never is.
    while lines.len() > 1 && Instant::now() < until {
        let mut open = Vec::new();
        for mut line in lines {
            let soon = until.min(Instant::now() + Duration::from_millis(20));
            match timeout_at(soon, line.hear()).await {
                Ok(None) => {}
                Ok(Some(said)) => panic!("{said:?}"),
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

/// The epochs with which instances have greeted a vehicle, or were about to.
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

/// What is logged of a login that was refused, for whatever reason.
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
    let heard: Vec<usize> = greeted.iter().map(Vec::len).collect();
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
    for (number, (lines, heard)) in zip(&left, heard).enumerate() {
        check(&cluster, &log, number, lines, heard);
    }
    let online = "SELECT device_id FROM vehicles WHERE online AND instance_id IS NOT NULL";
    assert_eq!(cluster.query(online).len(), VEHICLES);
}

/// What must hold of a vehicle after its storm: this is `left` of the connections, of which so many were greeted.
fn check(cluster: &Cluster, log: &[Value], number: usize, left: &[AsyncDevice], greeted: usize) {
    let id = id_of(number);
    let of = |column: &str| {
        let sql = format!("SELECT {column} FROM vehicles WHERE device_id = '{id}'");
        cluster.query(&sql)
    };
    assert_eq!(of("device_id"), [id.as_str()], "one row");
    assert_eq!(numbers(&of("session_epoch")), [LOGINS], "{id}");
    // Logins that share a batch leave one entry, of the last of them.
    let noted = numbers(&cluster.query(&format!(
        "SELECT epoch FROM audit WHERE kind = 'session' AND device_id = '{id}' ORDER BY seq"
    )));
    assert!(is_strictly_increasing(&noted), "{id}: {noted:?}");
    assert_eq!(noted.last(), Some(&LOGINS), "{id}");
    // Those that came far enough to be greeted say their number themselves.
    let logged = logged_epochs(log, &id);
    let distinct: BTreeSet<usize> = logged.iter().copied().collect();
    assert_eq!(distinct.len(), logged.len(), "{id}: {logged:?}");
    assert_eq!(distinct.last(), Some(&LOGINS), "{id}");
    assert!(logged.len() >= greeted, "{id}: {logged:?}");
    let open: Vec<String> = left.iter().map(|line| line.address.to_string()).collect();
    assert_eq!(open.len(), 1, "{id}: {open:?}");
    assert_eq!(open, of("remote_addr"), "{id}: the newest is the one");
    let sql = format!("SELECT seq FROM audit WHERE device_id = '{id}' AND NOT online");
    assert_eq!(cluster.query(&sql), [""; 0], "{id} was never offline");
}
