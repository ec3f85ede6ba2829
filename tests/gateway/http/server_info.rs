//! `GET /`: the server and its counts.

use serde_json::json;

use crate::support::{Daemon, wait_until};

#[test]
fn the_server_info_counts_connected_devices() {
    let daemon = Daemon::start();
    let _devices = [daemon.log_in("a"), daemon.log_in("b")];
    let page = daemon.json("/");
    assert_eq!(page["devicesConnected"], json!(2));
    wait_until("uptime is a number", || page["uptimeSeconds"].as_u64());
}
