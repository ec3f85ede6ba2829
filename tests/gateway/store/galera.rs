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

#[test]
fn long_a_report_is_stored_once_when_its_commit_moves_to_another_node() {
    let cluster = GaleraCluster::start();
    let urls = [0, 1].map(|node| cluster.url(node, "gateway"));
    let proxy = DatabaseProxy::to(&urls[0]);
    let daemon = Daemon::builder()
        .on_url(&proxy.url(&urls[0]))
        .set("store.commit_timeout=60s")
        .start();
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
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
        for flip in 0..flips() {
            let node = (flip + 1) % 2;
            // Every other time the node that is next has not applied the last commits.
            let delay = (flip % 4 < 2).then(|| cluster.delay(node));
            let before = sent.load(Ordering::Relaxed);
            wait_until("reports are acknowledged", || {
                (sent.load(Ordering::Relaxed) > before + 2 * VEHICLES || delay.is_some())
                    .then_some(())
            });
            proxy.redirect(&urls[node]);
            proxy.close_connections();
            if let Some(delay) = delay {
                delay.join().unwrap();
            }
            let before = sent.load(Ordering::Relaxed);
            wait_until("reports are acknowledged again", || {
                (sent.load(Ordering::Relaxed) > before + VEHICLES).then_some(())
            });
        }
        stop.store(true, Ordering::Relaxed);
    });
    let sent = [sent.into_inner().to_string()];
    for url in &urls {
        assert_eq!(query(url, "SELECT count(*) FROM reports"), sent);
    }
}
