//! Devices behind a balancer that speaks the PROXY protocol.

use std::{net::SocketAddr, time::Duration};

use serde_json::Value;
use socket2::SockRef;

use crate::support::{Balancer, Daemon, Device, hello, json, wait_until};

const TCP4: &[u8] = b"PROXY TCP4 203.0.113.7 10.0.0.1 55555 4000\r\n";
const IPV4: &[u8] = b"\xcb\x00\x71\x07\x0a\x00\x00\x01\xd9\x03\x0f\xa0";
const IPV6: &[u8] = b"\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x07\
    \x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01\xd9\x03\x0f\xa0";
const DEVICE_4: &str = "203.0.113.7:55555";
const DEVICE_6: &str = "[2001:db8::7]:55555";
const NO_HEADER: &str = "device refused: no valid PROXY header";

/// A header of version 2.
fn binary(command: u8, family: u8, content: &[u8]) -> Vec<u8> {
    let length = u16::try_from(content.len()).unwrap().to_be_bytes();
    let signature = b"\r\n\r\n\0\r\nQUIT\n";
    [signature, &[command, family][..], &length, content].concat()
}

fn local() -> Vec<u8> {
    binary(0x20, 0, b"")
}

fn gateway() -> Daemon {
    Daemon::builder()
        .set("device.proxy_protocol=required")
        .set("log.filter=info,vehicle_gateway::device=debug")
        .start()
}

/// Logs in behind this header and expects this stored address.
#[track_caller]
fn log_in_behind(daemon: &Daemon, header: &[u8], device_id: &str, address: &str) {
    let mut device = daemon.connect();
    device.send(header);
    device.say(&hello(device_id));
    device.expect("HI, NICE TO MEET YOU!");
    assert_eq!(daemon.vehicle(device_id)["remoteAddress"], address);
}

fn warnings(daemon: &Daemon) -> Vec<Value> {
    let mut log = daemon.log();
    log.retain(|line| line["level"] != "DEBUG" && line["level"] != "INFO");
    log
}

#[test]
fn a_version_1_header_gives_the_stored_and_logged_address() {
    let daemon = gateway();
    log_in_behind(&daemon, TCP4, "truck-4", DEVICE_4);
    let tcp6 = b"PROXY TCP6 2001:db8::7 2001:db8::1 55555 4000\r\n";
    log_in_behind(&daemon, tcp6, "truck-6", DEVICE_6);
    let connected = daemon.logged_with("device_id", "truck-4");
    assert_eq!(connected["remote"], DEVICE_4);
    assert_eq!(daemon.logged_disconnect("truck-6")["remote"], DEVICE_6);
}

#[test]
fn a_version_2_header_gives_the_address_whatever_it_adds() {
    let daemon = gateway();
    log_in_behind(&daemon, &binary(0x21, 0x11, IPV4), "truck-4", DEVICE_4);
    log_in_behind(&daemon, &binary(0x21, 0x21, IPV6), "truck-6", DEVICE_6);
    let tlvs = [IPV4, b"\x02\0\x0bexample.com\x05\0\x04abcd", &[0xe0; 1500]].concat();
    log_in_behind(&daemon, &binary(0x21, 0x11, &tlvs), "truck-tlv", DEVICE_4);
}

#[test]
fn an_ipv4_device_of_a_dual_stack_port_has_an_ipv4_address() {
    let mapped = b"PROXY TCP6 ::ffff:203.0.113.7 ::1 55555 4000\r\n";
    for balanced in [false, true] {
        let builder = Daemon::builder().set("device.listen=[::]:0");
        let daemon = if balanced {
            builder
                .set("device.proxy_protocol=required")
                .set(r#"device.proxy_sources=["127.0.0.0/8"]"#)
        } else {
            builder
        }
        .start();
        let mut device = Device::connect(([127, 0, 0, 1], daemon.device.port()).into());
        let own = device.stream().local_addr().unwrap().to_string();
        if balanced {
            device.send(mapped);
        }
        device.say(&hello("truck"));
        device.expect("HI, NICE TO MEET YOU!");
        let expected = if balanced { DEVICE_4 } else { &own };
        assert_eq!(daemon.vehicle("truck")["remoteAddress"], expected);
        assert_eq!(daemon.logged_with("device_id", "truck")["remote"], expected);
    }
}

#[test]
fn a_header_without_an_address_keeps_the_peer_address() {
    let daemon = gateway();
    for (index, header) in [local().as_slice(), b"PROXY UNKNOWN\r\n"]
        .iter()
        .enumerate()
    {
        let device = daemon.connect();
        let own = device.stream().local_addr().unwrap().to_string();
        let device_id = format!("truck-{index}");
        let mut device = device;
        device.send(header);
        device.say(&hello(&device_id));
        device.expect("HI, NICE TO MEET YOU!");
        assert_eq!(daemon.vehicle(&device_id)["remoteAddress"], own);
    }
}

#[test]
fn header_and_login_may_share_a_segment_or_come_byte_by_byte() {
    let daemon = gateway();
    let headers = [TCP4.to_vec(), binary(0x21, 0x11, IPV4)];
    for (index, header) in headers.iter().enumerate() {
        let mut text = daemon.connect();
        text.send(&[header, hello(&format!("text-{index}")).as_bytes(), b"PING."].concat());
        text.expect("HI, NICE TO MEET YOU!");
        text.expect("PONG.");

        let device_id = format!("json-{index}");
        let mut speaks_json = daemon.connect();
        speaks_json.send(&[header, json("PING.", &device_id).as_bytes()].concat());
        assert_eq!(speaks_json.object()["type"], "connected");
        speaks_json.expect_reply("PONG.");
        assert_eq!(daemon.vehicle(&device_id)["remoteAddress"], DEVICE_4);

        let device_id = format!("slow-{index}");
        let mut slow = daemon.connect();
        for byte in [header, hello(&device_id).as_bytes()].concat() {
            slow.send(&[byte]);
        }
        slow.expect("HI, NICE TO MEET YOU!");
        assert_eq!(daemon.vehicle(&device_id)["remoteAddress"], DEVICE_4);
    }
}

#[test]
fn the_greeting_waits_for_the_header() {
    let daemon = gateway();
    let mut device = daemon.connect();
    device.expect_silence(Duration::from_millis(400));
    device.send(TCP4);
    assert_eq!(device.object()["type"], "connected");
}

#[test]
fn without_a_valid_header_a_connection_is_closed_silently() {
    let daemon = gateway();
    for (said, reason) in [
        (
            hello("truck").as_bytes(),
            "the connection does not begin with a header",
        ),
        (
            b"\x16\x03\x01\x02\0",
            "the connection does not begin with a header",
        ),
        (
            b"PROXY TCP4 203.0.113.7 HELLO, I'M truck!\r\n",
            "the header is malformed",
        ),
        (&binary(0x21, 0x51, IPV4), "the header is malformed"),
        (
            &binary(0x21, 0x11, &[0; 5000]),
            "the header is longer than 4 KiB",
        ),
    ] {
        let mut device = daemon.connect();
        device.send(said);
        device.expect_closed();
        let line = daemon.logged_with("reason", reason);
        assert_eq!(line["message"], NO_HEADER);
    }
    assert_eq!(daemon.query("SELECT count(*) FROM vehicles"), ["0"]);
    let [warning] = &warnings(&daemon)[..] else {
        panic!("one warning for all: {:#?}", daemon.log());
    };
    assert_eq!(warning["refused"], 1);
}

#[test]
fn an_incomplete_header_times_out() {
    let daemon = Daemon::builder()
        .set("device.proxy_protocol=required")
        .set("device.login_timeout=500ms")
        .start();
    let mut begun = daemon.connect();
    begun.send(&TCP4[..20]);
    let mut silent = daemon.connect();
    begun.expect_closed();
    silent.expect_closed();
    let line = daemon.logged(NO_HEADER);
    assert_eq!(line["reason"], "the header was not complete in time");
}

#[test]
fn connections_without_a_header_count_and_end_at_shutdown() {
    let mut daemon = Daemon::builder()
        .set("device.proxy_protocol=required")
        .set("device.max_connections=2")
        .start();
    let mut waiting = [daemon.connect(), daemon.connect()];
    waiting[0].send(&TCP4[..20]);
    wait_until("both are counted", || {
        (daemon.connection_count() == 2).then_some(())
    });
    daemon.connect().expect_closed();
    daemon.logged("device refused: device.max_connections is reached");
    daemon.signal("TERM");
    for device in &mut waiting {
        device.expect_closed();
    }
    assert!(daemon.wait().success());
    assert!(
        daemon.log().iter().all(|line| line["message"] != NO_HEADER),
        "a shutdown counted as an invalid header"
    );
}

#[test]
fn a_peer_outside_proxy_sources_is_closed_at_once() {
    let daemon = Daemon::builder()
        .set("device.proxy_protocol=required")
        .set(r#"device.proxy_sources=["10.0.0.0/8"]"#)
        .start();
    let mut device = daemon.connect();
    let own = device.stream().local_addr().unwrap().to_string();
    device.try_send(&[TCP4, hello("truck").as_bytes()].concat());
    device.expect_closed();
    let line = daemon.logged("device refused: not in device.proxy_sources");
    assert_eq!(line["level"], "WARN");
    assert_eq!(line["remote"], own);
    assert_eq!(daemon.query("SELECT count(*) FROM vehicles"), ["0"]);
}

#[test]
fn health_checks_of_a_balancer_log_no_warnings() {
    let daemon = gateway();
    for said in [b"".as_slice(), &local(), b"PROXY UNKNOWN\r\n"] {
        for _ in 0..50 {
            let mut leaves = daemon.connect();
            leaves.send(said);
            drop(leaves);
            let mut resets = daemon.connect();
            let socket = SockRef::from(resets.stream());
            socket.set_linger(Some(Duration::ZERO)).unwrap();
            resets.send(said);
        }
    }
    log_in_behind(&daemon, TCP4, "truck", DEVICE_4);
    daemon.wait_until_offline("truck");
    wait_until("all connections are closed", || {
        (daemon.connection_count() == 0).then_some(())
    });
    assert_eq!(warnings(&daemon), [Value::Null; 0]);
}

#[test]
fn an_unexpected_header_is_bad_input() {
    let daemon = Daemon::start();
    let mut device = daemon.connect();
    let own = device.stream().local_addr().unwrap().to_string();
    device.send(TCP4);
    device.expect("SERVER COULD NOT PROCESS THE RECEIVED MESSAGE.");
    device.say(&hello("truck"));
    device.expect("HI, NICE TO MEET YOU!");
    assert_eq!(daemon.vehicle("truck")["remoteAddress"], own);
}

#[test]
fn behind_haproxy_vehicles_keep_their_address_and_checks_are_quiet() {
    for option in ["send-proxy", "send-proxy-v2"] {
        let daemon = gateway();
        let balancer = Balancer::start(&daemon, option);
        let log_in = || -> (Device, SocketAddr) {
            let mut device = balancer.connect();
            let own = device.stream().local_addr().unwrap();
            device.say(&hello("truck"));
            device.expect("HI, NICE TO MEET YOU!");
            (device, own)
        };
        let (mut device, own) = log_in();
        assert_eq!(daemon.vehicle("truck")["remoteAddress"], own.to_string());
        device.ping();
        wait_until("the balancer has checked the gateway", || {
            let log = daemon.log();
            let check =
                |line: &&Value| line["balancer"] == line["remote"] && line["balancer"].is_string();
            log.iter().find(check).map(drop)
        });
        device.say("GOTTA GO.");
        device.expect("SEE YA!");
        device.expect_closed();
        assert_eq!(daemon.logged_disconnect("truck")["remote"], own.to_string());
        assert_eq!(warnings(&daemon), [Value::Null; 0]);
    }
}
