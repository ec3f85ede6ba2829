//! Instances: their names, their leases, and the one that purges.

use serde_json::Value;

use super::{incarnation, stored_session};
use crate::support::{Cluster, Daemon, Database, LEASE, change, on_every_server, wait_until};

on_every_server! {
    instances_with_different_names_run_side_by_side,
    a_second_start_with_the_same_name_stops_the_first_with_a_reason,
    one_instance_purges_for_all_and_another_takes_over,
}

/// The number of renewals of each live incarnation.
fn renewals(cluster: &Cluster) -> Vec<u64> {
    let rows = cluster.query("SELECT renewals FROM instances WHERE state = 'live'");
    rows.iter().map(|row| row.parse().unwrap()).collect()
}

fn wait_for_two_leases(cluster: &Cluster, incarnations: usize) {
    let before: u64 = renewals(cluster).iter().sum();
    // An idle instance renews its row at least four times a lease.
    wait_until("two leases have passed", || {
        let now = renewals(cluster);
        assert_eq!(now.len(), incarnations, "one of them was declared dead");
        (now.iter().sum::<u64>() >= before + 8 * incarnations as u64).then_some(())
    });
}

fn instances_with_different_names_run_side_by_side(database: &Database) {
    let cluster = Cluster::start(database, 2);
    wait_for_two_leases(&cluster, 2);
    for index in 0..2 {
        let id = format!("truck-{index}");
        let _device = cluster.log_in_at(index, &id);
        assert_eq!(cluster.instance(index).get("/ready").status(), 200);
        assert_eq!(
            stored_session(&cluster, &id).1,
            incarnation(&cluster, index)
        );
    }
}

fn a_second_start_with_the_same_name_stops_the_first_with_a_reason(database: &Database) {
    let mut cluster = Cluster::start(database, 2);
    let mut device = cluster.log_in_at(0, "truck");
    let newer = Daemon::builder()
        .on_url(cluster.database_url())
        .set("instance.id=gateway-1")
        .set(&format!("redis.url={}", cluster.redis().url()))
        .set(&format!("presence.lease={}s", LEASE.as_secs()))
        .start();
    device.expect_closed();
    let status = cluster.wait_for_exit(0);
    assert!(!status.success());
    let log = cluster.log(0);
    let is_named = log
        .iter()
        .any(|line| line.to_string().contains("instance.id"));
    assert!(is_named, "{log:#?}");
    newer.log_in("truck");
    assert_eq!(cluster.instance(1).get("/ready").status(), 200);
}

/// The number of purges in the log of an instance.
fn purges(cluster: &Cluster, index: usize) -> usize {
    let lines = cluster.log(index);
    let is_purge = |line: &&Value| {
        line.to_string()
            .contains("rows past their retention deleted")
    };
    lines.iter().filter(is_purge).count()
}

fn one_instance_purges_for_all_and_another_takes_over(database: &Database) {
    let mut cluster = Cluster::start_with(database, 2, &["retention.interval=1s"]);
    let deletes = |cluster: &Cluster, index| {
        for _ in 0..3 {
            let before = purges(cluster, index);
            change(
                cluster.database_url(),
                "INSERT INTO reports (device_id, received_at, latitude, longitude, battery, running) \
                 VALUES ('truck', 1, 1, 2, 3, TRUE)",
            );
            wait_until("the purge of the report is logged", || {
                (purges(cluster, index) > before).then_some(())
            });
        }
    };
    // By then the instances know each other.
    wait_for_two_leases(&cluster, 2);
    let is_first = incarnation(&cluster, 0) < incarnation(&cluster, 1);
    let (first, second) = if is_first { (0, 1) } else { (1, 0) };
    deletes(&cluster, first);
    assert_eq!(purges(&cluster, second), 0);
    cluster.kill(first);
    deletes(&cluster, second);
}
