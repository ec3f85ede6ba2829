//! Two gateways behind `HAProxy` with the settings of `haproxy.cfg`.
//!
//! These tests are about the balancer, so each gateway has a database of its own.

use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use crate::support::{Balancer, Daemon, Device, PATIENCE, wait_until};

/// Two gateways behind the balancer. Their drain outlasts every test.
fn two_gateways() -> ([Daemon; 2], Balancer) {
    let daemons = [(), ()].map(|()| {
        Daemon::builder()
            .set("device.proxy_protocol=required")
            .set("shutdown.drain_delay=10m")
            .start()
    });
    let balancer = Balancer::in_front_of(&[&daemons[0], &daemons[1]]);
    (daemons, balancer)
}

/// A vehicle that is logged in through the balancer.
#[track_caller]
fn log_in(balancer: &Balancer, device_id: &str) -> Device {
    balancer.connect().logged_in(device_id)
}

/// Logs in one vehicle at each gateway: the balancer alternates. Returns them in the order of the gateways.
#[track_caller]
fn one_at_each(balancer: &Balancer, daemons: &[Daemon; 2]) -> [Device; 2] {
    let devices = ["first", "second"].map(|device_id| log_in(balancer, device_id));
    if daemons[0].get("/vehicles/first").status() == 200 {
        devices
    } else {
        let [first, second] = devices;
        [second, first]
    }
}

fn client() -> Client {
    Client::builder().timeout(PATIENCE).build().unwrap()
}

fn get(balancer: &Balancer, path: &str) -> Response {
    let url = format!("http://{}{path}", balancer.api);
    client().get(url).send().unwrap()
}

fn post(balancer: &Balancer, path: &str) -> Response {
    let url = format!("http://{}{path}", balancer.api);
    client().post(url).send().unwrap()
}

/// The id of the gateway that answers the next request.
fn answering_instance(balancer: &Balancer) -> String {
    let server: Value = get(balancer, "/").json().unwrap();
    server["instance"]["id"].as_str().unwrap().to_owned()
}

fn vehicle_count(daemon: &Daemon) -> usize {
    daemon.json("/vehicles")["items"].as_array().unwrap().len()
}

#[test]
fn balancing_alternates_instances_and_preserves_device_addresses() {
    let (daemons, balancer) = two_gateways();
    for index in 0..4 {
        let device_id = format!("truck-{index}");
        let device = log_in(&balancer, &device_id);
        let own = device.stream().local_addr().unwrap().to_string();
        let path = format!("/vehicles/{device_id}");
        let owner = daemons
            .iter()
            .find(|daemon| daemon.get(&path).status() == 200);
        assert_eq!(owner.unwrap().vehicle(&device_id)["remoteAddress"], own);
    }
    assert_eq!(daemons.each_ref().map(vehicle_count), [2, 2]);
    let mut answered = [(); 4].map(|()| answering_instance(&balancer));
    assert_ne!(answered[0], answered[1]);
    answered.sort();
    assert_eq!(answered[0], answered[1]);
    assert_eq!(answered[2], answered[3]);
}

#[test]
fn health_checks_log_no_warnings() {
    let (daemons, balancer) = two_gateways();
    // By the time it sees the drain it has checked both ports of both gateways.
    daemons[0].signal("TERM");
    balancer.logged("Server devices/gateway-1 is stopping");
    balancer.logged("Server api/gateway-1 is stopping");
    for daemon in &daemons {
        for line in daemon.log() {
            assert!(line["level"] == "INFO", "{line}");
        }
    }
}

#[test]
fn a_draining_gateway_keeps_its_connections_and_gets_no_new_ones() {
    let (daemons, balancer) = two_gateways();
    let [mut at_first, _at_second] = one_at_each(&balancer, &daemons);
    daemons[0].signal("TERM");
    balancer.logged("Server devices/gateway-1 is stopping");
    balancer.logged("Server api/gateway-1 is stopping");
    for index in 0..4 {
        log_in(&balancer, &format!("truck-{index}"));
        assert_eq!(answering_instance(&balancer), daemons[1].id);
    }
    assert_eq!(daemons.each_ref().map(vehicle_count), [1, 5]);
    at_first.ping();
}

#[test]
fn a_crashed_gateway_is_skipped_at_once() {
    let (mut daemons, balancer) = two_gateways();
    let [mut at_first, mut at_second] = one_at_each(&balancer, &daemons);
    daemons[0].signal("KILL");
    daemons[0].wait();
    at_first.expect_closed();
    for index in 0..4 {
        log_in(&balancer, &format!("truck-{index}"));
        assert_eq!(answering_instance(&balancer), daemons[1].id);
    }
    at_second.ping();
}

#[test]
fn a_request_lost_in_a_crash_is_not_retried_on_another_gateway() {
    let (daemons, balancer) = two_gateways();
    let [mut at_first, _at_second] = one_at_each(&balancer, &daemons);
    let device_id = if daemons[0].get("/vehicles/first").status() == 200 {
        "first"
    } else {
        "second"
    };
    let answer = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            // The other gateway does not know the vehicle.
            wait_until("the first gateway gets the request", || {
                let answer = post(&balancer, &format!("/service/{device_id}/turnOn"));
                Some(answer).filter(|answer| answer.status() != 404)
            })
        });
        at_first.expect("HEY YOU, RUN!");
        daemons[0].signal("KILL");
        asking.join().unwrap()
    });
    assert_eq!(answer.status(), 502);
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["title"], json!("Bad Gateway"));
}

#[test]
fn only_the_devices_of_a_hanging_gateway_are_disconnected() {
    let (daemons, balancer) = two_gateways();
    let [mut at_first, mut at_second] = one_at_each(&balancer, &daemons);
    daemons[0].signal("STOP");
    at_first.expect_closed();
    log_in(&balancer, "truck-0");
    log_in(&balancer, "truck-1");
    at_second.ping();
}

#[test]
fn a_recovered_gateway_gets_its_share_again() {
    let (daemons, balancer) = two_gateways();
    daemons[0].signal("STOP");
    balancer.logged("Server devices/gateway-1 is DOWN");
    daemons[0].signal("CONT");
    balancer.logged("Server devices/gateway-1 is UP");
    one_at_each(&balancer, &daemons);
    assert_eq!(daemons.each_ref().map(vehicle_count), [1, 1]);
}

#[test]
fn without_a_gateway_the_balancer_answers_with_a_problem() {
    let (mut daemons, balancer) = two_gateways();
    for daemon in &mut daemons {
        daemon.signal("KILL");
        daemon.wait();
    }
    let answer = wait_until("the balancer sees both down", || {
        Some(get(&balancer, "/health")).filter(|answer| answer.status() == 503)
    });
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let problem: Value = answer.json().unwrap();
    assert_eq!(problem["status"], json!(503));
}
