//! A panic in a task that the gateway cannot work without ends the process.

use crate::support::{Daemon, Database, Redis};

/// Starts a gateway, has one of its tasks panic, and expects the end of the process.
#[track_caller]
fn ends_the_process(task: &str) {
    let (database, redis) = (Database::postgres(), Redis::start());
    let mut daemon = Daemon::on(&database)
        .set(&format!("redis.url={}", redis.url()))
        .after_shell(&format!("export VEHICLE_GATEWAY_PANIC='{task}'"))
        .start();
    let mut device = daemon.log_in("truck");
    daemon.signal("USR2");
    let panic = daemon.logged("panic: this is a bug in the gateway");
    assert_eq!(panic["panic"], "requested by a test");
    let exit = daemon.logged("exiting: a task that the gateway cannot work without has panicked");
    assert_eq!(exit["task"], task);
    assert_eq!(daemon.wait().code(), Some(101));
    device.expect_closed();
}

macro_rules! a_panic_ends_the_process {
    ($($test:ident: $task:literal),+ $(,)?) => {
        $(#[test]
        fn $test() {
            ends_the_process($task);
        })+
    };
}

mod a_panic_ends_the_process {
    use super::ends_the_process;

    a_panic_ends_the_process! {
        in_main: "main",
        in_the_writer: "writer",
        at_the_device_port: "device port",
        at_the_http_port: "http port",
        in_the_fan_out_supervisor: "fan-out supervisor",
        among_peers: "peers",
        in_membership: "membership",
        in_incarnation: "incarnation",
        in_evictions: "evictions",
        in_heartbeats: "heartbeats",
        in_retention: "retention",
        in_overdue_commands: "overdue commands",
        in_webhooks: "webhooks",
        while_following_tls_files: "TLS files",
    }
}
