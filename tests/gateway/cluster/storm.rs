//! Many logins at once, wherever they come in.

use std::{net::SocketAddr, time::Duration};

use fastrand::Rng;
use tokio::{
    runtime::Runtime,
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::watched;
use crate::support::{
    Cluster, Database, Dialect, Line, PATIENCE, Said, hello, on_every_server, wait_until,
};

const VEHICLES: usize = 64;
const LOGINS: usize = 50;
/// How many of a vehicle's logins are under way at the same time.
const AT_ONCE: usize = 10;

on_every_server! {
    of_many_logins_of_a_vehicle_at_random_instances_each_counts_once_and_one_session_is_left,
}

/// A login that was greeted, or overtaken before.
async fn log_in(address: SocketAddr, id: &str, pretend: SocketAddr) -> Option<Line> {
    let mut line = Line::connect(address, Some(pretend), Dialect::Text, id)
        .await
        .ok()?;
    line.say(&hello(id)).await.ok()?;
    match line.hear().await {
        Some(Said::Reply(reply)) => {
            assert_eq!(reply, "HI, NICE TO MEET YOU!");
            Some(line)
        }
        Some(said) => panic!("{said:?}"),
        None => None,
    }
}

/// All logins of one vehicle; returns how many were greeted, and those connections.
async fn storm(number: usize, instances: Vec<SocketAddr>, mut rng: Rng) -> Vec<Line> {
    let id = format!("truck-{number}");
    let mut greeted = Vec::new();
    let mut under_way = JoinSet::new();
    for login in 0..LOGINS {
        if under_way.len() == AT_ONCE {
            greeted.extend(under_way.join_next().await.unwrap().unwrap());
        }
        let byte = |number: usize| u8::try_from(number).unwrap();
        let pretend = SocketAddr::from(([10, 0, byte(number), byte(login)], 1024));
        let address = instances[rng.usize(..instances.len())];
        let id = id.clone();
        under_way.spawn(async move { log_in(address, &id, pretend).await });
    }
    while let Some(line) = under_way.join_next().await {
        greeted.extend(line.unwrap());
    }
    greeted
}

/// How many of these the gateway has left open.
async fn count_open(lines: &mut Vec<Line>) -> usize {
    let until = Instant::now() + PATIENCE;
    // All but the newest are closed, sooner or later, and the newest never is.
    while lines.len() > 1 {
        let mut closed = Vec::new();
        for (index, line) in lines.iter_mut().enumerate() {
            let soon = until.min(Instant::now() + Duration::from_millis(20));
            if timeout_at(soon, line.hear()).await == Ok(None) {
                closed.push(index);
            }
        }
        for index in closed.into_iter().rev() {
            drop(lines.remove(index));
        }
        if Instant::now() >= until {
            break;
        }
    }
    for line in lines.iter_mut() {
        line.say("PING.").await.unwrap();
        assert_eq!(line.hear().await, Some(Said::Reply("PONG.".to_owned())));
    }
    lines.len()
}

fn held(cluster: &Cluster) -> u64 {
    cluster.instances().map(crate::support::Daemon::held).sum()
}

fn of_many_logins_of_a_vehicle_at_random_instances_each_counts_once_and_one_session_is_left(
    database: &Database,
) {
    let cluster = watched(database, 3);
    let instances: Vec<SocketAddr> = (0..3).map(|index| cluster.addresses(index)[0]).collect();
    let runtime = Runtime::new().unwrap();
    let mut rng = Rng::new();
    let storms: Vec<_> = (0..VEHICLES)
        .map(|number| runtime.spawn(storm(number, instances.clone(), rng.fork())))
        .collect();
    let mut greeted: Vec<Vec<Line>> = runtime.block_on(async {
        let mut all = Vec::new();
        for storm in storms {
            all.push(storm.await.unwrap());
        }
        all
    });
    for (number, lines) in greeted.iter_mut().enumerate() {
        let id = format!("truck-{number}");
        let of = |column: &str| {
            cluster.query(&format!(
                "SELECT {column} FROM vehicles WHERE device_id = '{id}'"
            ))
        };
        let epoch: usize = of("session_epoch")[0].parse().unwrap();
        assert!(
            (lines.len()..=LOGINS).contains(&epoch),
            "{id}: {} of {LOGINS} logins were greeted, and the epoch is {epoch}",
            lines.len()
        );
        assert_eq!(of("device_id").len(), 1);
        let epochs = cluster.query(&format!(
            "SELECT epoch FROM audit WHERE kind = 'session' AND device_id = '{id}' ORDER BY seq"
        ));
        let epochs: Vec<usize> = epochs.iter().map(|epoch| epoch.parse().unwrap()).collect();
        assert!(epochs.is_sorted(), "{id}: {epochs:?}");
        assert_eq!(runtime.block_on(count_open(lines)), 1, "{id}");
    }
    wait_until("one session for each vehicle is left", || {
        (held(&cluster) == VEHICLES as u64).then_some(())
    });
    let online =
        cluster.query("SELECT device_id FROM vehicles WHERE online AND instance_id IS NOT NULL");
    assert_eq!(online.len(), VEHICLES);
}
