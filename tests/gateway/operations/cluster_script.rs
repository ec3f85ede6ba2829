//! `scripts/cluster`, run as a user runs it.

use std::{
    fs::{self, Permissions},
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    process::{Command, Output},
};

use reqwest::blocking::Client;
use serde_json::Value;

use crate::support::{ClusterScript, TEST_PORTS, free_ports, hello};

const GATEWAYS: usize = 2;

#[test]
fn the_cluster_script_serves_and_cleans_up() {
    let mut cluster = ClusterScript::start(GATEWAYS);
    let client = Client::new();
    let get = |path: &str| {
        client
            .get(format!("http://{}{path}", cluster.api))
            .send()
            .unwrap()
    };
    for _ in 0..=GATEWAYS {
        assert_eq!(get("/health").status(), 200);
    }
    let mut device = cluster.connect();
    device.say(&hello("truck"));
    device.expect("HI, NICE TO MEET YOU!");
    let vehicle: Value = get("/vehicles/truck").json().unwrap();
    let own = device.stream().local_addr().unwrap().to_string();
    assert_eq!(vehicle["remoteAddress"], own);

    assert!(cluster.folder.is_dir());
    let processes = cluster.processes();
    // The database, Redis, the balancer.
    assert_eq!(processes.len(), GATEWAYS + 3);
    cluster.signal("TERM");
    device.expect("GOTTA GO.");
    device.say("SEE YA!");
    device.expect_closed();
    assert!(cluster.wait().success());
    let still_there = Command::new("ps")
        .args(["-o", "pid=,args=", "-p", &processes.join(",")])
        .output();
    assert_eq!(String::from_utf8(still_there.unwrap().stdout).unwrap(), "");
    assert!(!cluster.folder.exists());
}

#[test]
fn the_cluster_script_takes_no_ports_of_the_tests() {
    let script = include_str!("../../../scripts/cluster");
    let range = script
        .lines()
        .find_map(|line| line.trim().strip_prefix("port=$((")?.strip_suffix("))"))
        .unwrap();
    let (first, count) = range.split_once(" + RANDOM % ").unwrap();
    let [first, count]: [u16; 2] = [first, count].map(|number| number.parse().unwrap());
    assert!(first >= TEST_PORTS.end, "{range}");
    // Linux gives ports from here on to outgoing connections.
    assert!(first + count <= 32_768, "{range}");
}

/// A `redis-server` whose first start fails a little late, while somebody else's server answers on its port.
const LATE_REDIS: &str = r#"#!/usr/bin/env bash
PATH=${PATH#*:}
echo start >>"$STARTS"
if [ "$(wc -l <"$STARTS")" -gt 1 ]; then exec redis-server "$@"; fi
redis-server "$@" &
sleep 2
kill $!
wait
exit 1
"#;

#[test]
fn the_cluster_script_uses_its_own_servers() {
    let folder = tempfile::tempdir().unwrap();
    let [program, starts] = ["redis-server", "starts"].map(|name| folder.path().join(name));
    fs::write(&program, LATE_REDIS).unwrap();
    fs::set_permissions(&program, Permissions::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut cluster = ClusterScript::start_with(1, |script| {
        script
            .env("PATH", format!("{}:{path}", folder.path().display()))
            .env("STARTS", &starts);
    });
    assert_eq!(fs::read_to_string(starts).unwrap(), "start\nstart\n");
    cluster.signal("TERM");
    assert!(cluster.wait().success());
}

fn fail_to_start(command: &mut Command) -> String {
    let Output { status, stderr, .. } = command.output().unwrap();
    assert!(!status.success());
    String::from_utf8(stderr).unwrap()
}

#[test]
fn the_cluster_script_names_missing_programs() {
    let folder = tempfile::tempdir().unwrap();
    for program in ["bash", "dirname"] {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output()
            .unwrap();
        let found = String::from_utf8(found.stdout).unwrap();
        symlink(found.trim(), folder.path().join(program)).unwrap();
    }
    let [http, device] = free_ports();
    let output = fail_to_start(
        ClusterScript::command(http, device)
            .env_remove("VEHICLE_GATEWAY_BINARY")
            .env("PATH", folder.path()),
    );
    assert!(output.contains("please install:"), "{output}");
    assert!(output.contains("cargo: https://rustup.rs"), "{output}");
}

#[test]
fn the_cluster_script_rejects_impossible_arguments() {
    let [http, device] = free_ports();
    let output = fail_to_start(ClusterScript::command(http, device).arg("many"));
    assert!(output.contains("how many gateways?"), "{output}");
    let no_binary = ("VEHICLE_GATEWAY_BINARY", "/nowhere/at/all");
    let output = fail_to_start(ClusterScript::command(http, device).env(no_binary.0, no_binary.1));
    assert!(output.contains("/nowhere/at/all is no program"), "{output}");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = fail_to_start(&mut ClusterScript::command(http, port));
    assert!(
        output.contains(&format!("port {port} is taken")),
        "{output}"
    );
}

#[test]
fn the_cluster_script_explains_a_failed_start_and_keeps_logs() {
    let folder = tempfile::tempdir().unwrap();
    let [http, device] = free_ports();
    let output = fail_to_start(
        ClusterScript::command(http, device)
            .env("TMPDIR", folder.path())
            .env("GATEWAY_DEVICE__PIPELINE", "none"),
    );
    assert!(
        output.contains("device.pipeline") && output.contains("gateway-1 does not start"),
        "{output}"
    );
    let left = fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    assert!(left.path().join("gateway-1.log").exists());
}
