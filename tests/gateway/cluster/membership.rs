//! Instances and their names.

use serde_json::Value;

use super::{incarnation, stored_session};
use crate::support::{Cluster, Daemon, Database, LEASE, change, on_every_server, wait_until};

on_every_server! {
    instances_with_different_names_run_side_by_side,
    a_second_start_with_the_same_name_stops_the_first_with_a_reason,
    one_instance_purges_for_all_and_another_takes_over,
}

/// How often each life has committed, by id.
fn renewals(cluster: &Cluster) -> Vec<u64> {
    let rows = cluster.query("SELECT renewals FROM instances WHERE state = 'live'");
    rows.iter().map(|row| row.parse().unwrap()).collect()
}

fn wait_for_two_leases(cluster: &Cluster, incarnations: usize) {
    let before: u64 = renewals(cluster).iter().sum();
    // Each commits at least four times in a lease, though nobody has anything to write.
    wait_until("two leases have passed", || {
        let now = renewals(cluster);
        assert_eq!(now.len(), incarnations, "one of them is dead");
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
    let says_so = log
        .iter()
        .any(|line| line.to_string().contains("instance.id"));
    assert!(says_so, "{log:#?}");
    newer.log_in("truck");
    assert_eq!(cluster.instance(1).get("/ready").status(), 200);
}

/// How often an instance has said that it deleted something.
fn purges(cluster: &Cluster, index: usize) -> usize {
    let lines = cluster.log(index);
    let says = |line: &&Value| line.to_string().contains("deleted what is older");
    lines.iter().filter(says).count()
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
            wait_until("it has deleted the report, and says so", || {
                (purges(cluster, index) > before).then_some(())
            });
        }
    };
    // They know each other by then.
    wait_for_two_leases(&cluster, 2);
    let is_first = incarnation(&cluster, 0) < incarnation(&cluster, 1);
    let (first, second) = if is_first { (0, 1) } else { (1, 0) };
    deletes(&cluster, first);
    assert_eq!(purges(&cluster, second), 0);
    cluster.kill(first);
    deletes(&cluster, second);
}
