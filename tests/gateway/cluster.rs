//! Several gateways that act as one.

use crate::support::{Cluster, Database, wait_until};

#[test]
fn one_gateway_behind_its_balancer_is_found_again_after_a_restart_and_a_kill() {
    let mut cluster = Cluster::start(&Database::mariadb(), 1);
    let mut device = cluster.log_in("truck");
    device.say("PING.");
    device.expect("PONG.");
    assert_eq!(cluster.get("/vehicles/truck").status(), 200);
    cluster.restart(0);
    device.expect("GOTTA GO.");
    cluster.log_in_at(0, "truck");
    cluster.kill(0);
    cluster.start_again(0);
    cluster.log_in_at(0, "truck");
    let epoch = cluster.query("SELECT session_epoch FROM vehicles");
    assert_eq!(epoch, ["3"]);
    let body = serde_json::json!({"deviceId": "other"});
    wait_until("the balancer has found it", || {
        (cluster.post("/vehicles", &body).status() == 201).then_some(())
    });
}
