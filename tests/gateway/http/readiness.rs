//! `GET /ready` and `GET /ready/balancer` while the database is locked.

use crate::support::{Daemon, Lock, wait_until};

#[test]
fn balancer_readiness_ignores_shared_outages() {
    let daemon = Daemon::builder().set("store.commit_timeout=300ms").start();
    let lock = Lock::take(&daemon.database());
    daemon.try_log_in("truck");
    daemon.logged("the database cannot commit; nothing is acknowledged until it does");
    assert_eq!(daemon.get("/ready").status(), 503);
    assert_eq!(daemon.get("/ready/balancer").status(), 200);
    drop(lock);
}

#[test]
fn readiness_returns_with_the_database_without_any_write() {
    let daemon = Daemon::builder()
        .set("store.commit_timeout=500ms")
        .set("retention.interval=1d")
        .start();
    let lock = Lock::take(&daemon.database());
    let response = daemon.post("/vehicles", &serde_json::json!({"deviceId": "x"}));
    assert_eq!(response.status(), 503);
    assert_eq!(daemon.get("/ready").status(), 503);
    drop(lock);
    wait_until("the gateway is ready again", || {
        (daemon.get("/ready").status() == 200).then_some(())
    });
}
