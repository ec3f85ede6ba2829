//! Instances and their names.

use super::{life, session};
use crate::support::{Cluster, Daemon, Database, LEASE, on_every_server, wait_until};

on_every_server! {
    instances_of_different_names_live_side_by_side,
    a_newer_start_under_the_same_name_ends_the_older_one_which_says_so,
}

/// How often each life has committed, by id.
fn renewals(cluster: &Cluster) -> Vec<u64> {
    let rows = cluster.query("SELECT renewals FROM instances WHERE state = 'live'");
    rows.iter().map(|row| row.parse().unwrap()).collect()
}

fn instances_of_different_names_live_side_by_side(database: &Database) {
    let cluster = Cluster::start(database, 2);
    let before: u64 = renewals(&cluster).iter().sum();
    // Each commits at least four times in a lease, though nobody has anything to write.
    wait_until("two leases have passed", || {
        let now = renewals(&cluster);
        assert_eq!(now.len(), 2, "one of them is dead");
        (now.iter().sum::<u64>() >= before + 16).then_some(())
    });
    for index in 0..2 {
        let id = format!("truck-{index}");
        let _device = cluster.log_in_at(index, &id);
        assert_eq!(cluster.instance(index).get("/ready").status(), 200);
        assert_eq!(session(&cluster, &id).1, life(&cluster, index));
    }
}

fn a_newer_start_under_the_same_name_ends_the_older_one_which_says_so(database: &Database) {
    let mut cluster = Cluster::start(database, 2);
    let mut device = cluster.log_in_at(0, "truck");
    let newer = Daemon::builder()
        .on_url(cluster.database_url())
        .set("instance.id=gateway-1")
        .set(&format!("redis.url={}", cluster.redis().url()))
        .set(&format!("presence.lease={}s", LEASE.as_secs()))
        .start();
    device.expect_closed();
    let status = cluster.wait_for_the_end(0);
    assert!(!status.success());
    let log = cluster.log(0);
    let says_so = log
        .iter()
        .any(|line| line.to_string().contains("instance.id"));
    assert!(says_so, "{log:#?}");
    newer.log_in("truck");
    assert_eq!(cluster.instance(1).get("/ready").status(), 200);
}
