//! A Galera cluster behind a balancer that moves sessions from node to node while commits are under way.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::support::{Daemon, DatabaseProxy, GaleraCluster, THANKS, query, report, wait_until};

const VEHICLES: usize = 8;

/// How often sessions move: a few times each run, or `FLIPS` times.
fn flips() -> usize {
    std::env::var("FLIPS").map_or(16, |flips| flips.parse().unwrap())
}

/// Stops the vehicles, also if the test fails: else it would wait for them.
struct StopOnDrop<'a>(&'a AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn long_a_report_is_stored_once_when_its_commit_moves_to_another_node() {
    let cluster = GaleraCluster::start();
    let urls = [0, 1].map(|node| cluster.url(node, "gateway"));
    let proxy = DatabaseProxy::to(&urls[0]);
    // Without this setting a node shows what it has not applied yet as missing.
    proxy.replace("wsrep_sync_wait = 3", "wsrep_sync_wait = 0");
    let daemon = Daemon::builder()
        .on_url(&proxy.url(&urls[0]))
        .set("store.commit_timeout=60s")
        .start();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let stopping = StopOnDrop(&stop);
        for vehicle in 0..VEHICLES {
            let mut device = daemon.log_in(&format!("truck-{vehicle}"));
            let (stop, sent) = (&stop, &sent);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    device.say(&report(1));
                    device.expect(THANKS);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let wait_for_reports = |count: usize| {
            let before = sent.load(Ordering::Relaxed);
            wait_until("reports are acknowledged", || {
                (sent.load(Ordering::Relaxed) > before + count).then_some(())
            });
        };
        for flip in 0..flips() {
            let [now, next] = [&urls[flip % 2], &urls[(flip + 1) % 2]];
            let last_batch = || query(now, "SELECT max(batch) FROM instances WHERE state = 'live'");
            wait_for_reports(VEHICLES);
            // The COMMIT of a batch is not answered.
            proxy.hold("COMMIT");
            proxy.wait_until_held(flip + 1);
            let before = last_batch();
            proxy.lose_replies();
            proxy.redirect(next);
            proxy.release();
            wait_until("the batch is stored", || {
                (last_batch() != before).then_some(())
            });
            proxy.close_connections();
        }
        wait_for_reports(VEHICLES);
        drop(stopping);
    });
    let sent = [sent.into_inner().to_string()];
    for url in &urls {
        assert_eq!(query(url, "SELECT count(*) FROM reports"), sent);
    }
}
