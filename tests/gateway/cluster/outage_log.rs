//! The logs of instances in an outage: a line for each change, and numbers that add up.

use std::time::{Duration, Instant};

use serde_json::json;

use super::incarnation;
use crate::support::{
    Cluster, Database, change, expect_few_lines, on_every_server, sum, wait_until,
};

on_every_server! {
    stored_sessions_without_connections_are_one_line,
}

fn stored_sessions_without_connections_are_one_line(database: &Database) {
    const SESSIONS: usize = 40;
    let cluster = Cluster::start(database, 1);
    let mut devices: Vec<_> = (0..SESSIONS)
        .map(|index| cluster.log_in_at(0, &format!("truck-{index}")))
        .collect();
    for device in &mut devices {
        device.say("GOTTA GO.");
        device.expect("SEE YA!");
    }
    let online = "SELECT count(*) FROM vehicles WHERE instance_id IS NOT NULL";
    wait_until("the sessions have ended", || {
        (cluster.query(online) == ["0"]).then_some(())
    });
    let before = cluster.log(0).len();
    // As if the ends of the sessions had been lost.
    let own = incarnation(&cluster, 0);
    let sessions = format!("UPDATE vehicles SET instance_id = '{own}', online = TRUE");
    change(cluster.database_url(), &sessions);
    wait_until("they are ended", || {
        (cluster.query(online) == ["0"]).then_some(())
    });
    let message = "stored sessions without a connection ended";
    let log = wait_until("the line", || {
        cluster.instance(0).json("/");
        let log = cluster.log(0).split_off(before);
        (sum(&log, message, "sessions") == SESSIONS as u64).then_some(log)
    });
    assert_eq!(
        log.iter().filter(|line| line["message"] == message).count(),
        1
    );
}

#[test]
fn commands_to_other_instances_without_redis_cost_a_few_lines() {
    let cluster = Cluster::start(&Database::mariadb(), 2);
    let _there = cluster.log_in_at(1, "there");
    let before: Vec<_> = (0..2).map(|index| cluster.log(index).len()).collect();
    cluster.redis().kill();
    let until = Instant::now() + Duration::from_secs(3);
    let mut refused = 0;
    while Instant::now() < until || refused < 100 {
        let pending: Vec<_> = (0..20)
            .map(|_| {
                let body = json!({ "timeoutSeconds": 2 });
                cluster.instance(0).start_command("there/turnOn", &body)
            })
            .collect();
        for pending in pending {
            assert_eq!(pending.response().status, 503);
            refused += 1;
        }
    }
    cluster.redis().restart();
    for (index, before) in before.into_iter().enumerate() {
        cluster.instance(index).logged("Redis is connected");
        expect_few_lines(&cluster.log(index)[before..]);
    }
}
