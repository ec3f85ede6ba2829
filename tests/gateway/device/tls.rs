//! The device port inside TLS.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::Arc,
    time::{Duration, Instant},
};

use rustls::{
    HandshakeKind,
    version::{TLS12, TLS13},
};

use crate::support::{
    Authority, Builder, Daemon, Device, FINE, GREETING, PATIENCE, THANKS, connect_tls, encrypt,
    hello, json, report, wait_until,
};

/// A daemon with a device port inside TLS, whose certificate is of this authority.
fn with_certificate_of(authority: &Authority) -> Builder {
    let builder = Daemon::builder();
    let files = authority.issue().write_to(builder.folder().path());
    builder.device_tls(&files)
}

fn connect(daemon: &Daemon, authority: &Authority) -> Device {
    Device::encrypted(connect_tls(daemon.device_tls(), authority.client()).unwrap())
}

fn connect_plain(daemon: &Daemon) -> TcpStream {
    let stream = TcpStream::connect(daemon.device_tls()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The number of failed handshakes for this reason.
pub(super) fn failed(daemon: &Daemon, reason: &str) -> u64 {
    let metrics = daemon.get("/metrics").text().unwrap();
    let name = format!(
        "vehicle_gateway_tls_handshakes_failed_total{{listener=\"device\",reason=\"{reason}\"}} "
    );
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.expect(&metrics).parse().unwrap()
}

/// Sends this, closes the sending direction, and reads up to the end.
fn converse(mut stream: impl Read + Write, input: &[u8]) -> String {
    stream.write_all(input).unwrap();
    stream.flush().unwrap();
    let mut output = String::new();
    // Inside TLS an end without the farewell is an error.
    stream.read_to_string(&mut output).unwrap();
    output
}

#[test]
fn inside_tls_both_dialects_are_byte_for_byte_the_same() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let text = [
        &hello("truck"),
        "PING.",
        &report(47),
        "POTATO\n",
        "WTF! 300000\n",
        &"x".repeat(300_000),
        FINE,
        "KEEP ME POSTED EVERY 60 SECONDS.",
        "GOTTA GO.",
    ]
    .concat();
    let json = [
        &json(&hello("truck"), "truck"),
        &json("PING.", "truck"),
        &json(&report(47), "truck"),
        &json("POTATO", "truck"),
        "{]}",
        &json("GOTTA GO.", "truck"),
    ]
    .concat();
    for input in [text, json] {
        let plain = TcpStream::connect(daemon.device).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        let plain = converse(plain, input.as_bytes());
        let encrypted = connect_tls(daemon.device_tls(), authority.client()).unwrap();
        let encrypted = converse(encrypted, input.as_bytes());
        assert_eq!(encrypted, plain);
        assert!(plain.contains("SEE YA!"), "{plain}");
    }
    // A JSON device that waits is greeted.
    let mut waiting = connect(&daemon, &authority);
    assert_eq!(waiting.object()["type"], "connected");
}

#[test]
fn every_handshake_is_a_whole_one() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    for version in [&TLS12, &TLS13] {
        // It would resume the session of the first connection.
        let config = authority.client_of(&[version]);
        for _ in 0..2 {
            let stream = connect_tls(daemon.device_tls(), Arc::clone(&config)).unwrap();
            assert_eq!(stream.conn.handshake_kind(), Some(HandshakeKind::Full));
            Device::encrypted(stream).logged_in("truck").ping();
        }
    }
}

#[test]
fn who_has_said_all_it_has_to_say_gets_its_replies() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    for says_farewell in [true, false] {
        let mut device = connect(&daemon, &authority);
        device.say(&[hello("truck"), report(47)].concat());
        if says_farewell {
            device.half_close();
        } else {
            // As much firmware does.
            device.stream().shutdown(Shutdown::Write).unwrap();
        }
        device.expect(GREETING);
        device.expect(THANKS);
        device.expect_closed();
        let end = daemon.logged_disconnect("truck");
        assert_eq!(end["reason"], "connection-closed");
    }
}

#[test]
fn every_end_of_a_session_is_said_inside_tls() {
    let authority = Authority::new();
    let mut daemon = with_certificate_of(&authority).start();
    let mut superseded = connect(&daemon, &authority).logged_in("truck");
    let mut newest = connect(&daemon, &authority).logged_in("truck");
    superseded.expect_closed();
    newest.ping();
    daemon.signal("TERM");
    newest.expect("GOTTA GO.");
    newest.say("SEE YA!");
    newest.expect_closed();
    assert!(daemon.wait().success());
}

#[test]
fn commands_and_plain_devices_work_beside_each_other() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let mut encrypted = connect(&daemon, &authority).logged_in("truck");
    let mut plain = daemon.log_in("van");
    let answer = std::thread::scope(|scope| {
        let request = || daemon.post("/service/truck/turnOn", &serde_json::json!({}));
        let asking = scope.spawn(request);
        encrypted.expect("HEY YOU, RUN!");
        encrypted.say("DONE!");
        asking.join().unwrap()
    });
    assert_eq!(answer.status(), 200);
    plain.ping();
    assert_eq!(daemon.connection_count(), 2);
}

#[test]
fn a_device_that_reads_nothing_is_closed() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority)
        .set("device.write_timeout=300ms")
        .start();
    let mut device = connect(&daemon, &authority).logged_in("truck");
    device
        .stream()
        .set_write_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    // Short sentences with long replies.
    let flood = "x\nPING.\n".repeat(8_000);
    wait_until("the flood stops", || {
        (!device.try_say(&flood)).then_some(())
    });
    let end = daemon.logged_disconnect("truck");
    assert_eq!(end["reason"], "slow-reader");
}

#[test]
fn a_client_without_tls_is_closed_at_once_and_counted() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let begun = Instant::now();
    let mut device = Device::from_stream(connect_plain(&daemon));
    device.say(&hello("truck"));
    device.expect_closed();
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(failed(&daemon, "plain-text"), 1);
    let line = daemon.logged_containing("TLS handshake failed");
    assert_eq!(line["reason"], "plain-text");
    assert_eq!(line["listener"], "device");
}

#[test]
fn a_tls_client_on_the_plain_port_is_closed_at_once_with_the_reason() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let begun = Instant::now();
    let refused = connect_tls(daemon.device, authority.client());
    assert!(refused.is_err());
    assert!(begun.elapsed() < Duration::from_secs(5));
    let line = daemon.logged_containing("bad sentence");
    let reason = line["reason"].as_str().unwrap();
    assert!(reason.contains("device.tls.listen"), "{reason}");
    wait_until("the connection is closed", || {
        (daemon.connection_count() == 0).then_some(())
    });
}

#[test]
fn a_handshake_that_does_not_end_counts_as_a_connection_and_is_closed() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority)
        .set("device.login_timeout=1s")
        .start();
    let mut slow = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"].map(|beginning| {
        let mut stream = connect_plain(&daemon);
        stream.write_all(beginning).unwrap();
        stream
    });
    wait_until("they are counted", || {
        (daemon.connection_count() == 3).then_some(())
    });
    for stream in &mut slow {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    wait_until("they are counted no more", || {
        (daemon.connection_count() == 0).then_some(())
    });
    assert_eq!(failed(&daemon, "timeout"), 3);
}

#[test]
fn slow_handshakes_keep_no_plain_device_out() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority)
        .set("device.max_connections=100")
        .start();
    let _slow: Vec<TcpStream> = (0..150).map(|_| connect_plain(&daemon)).collect();
    wait_until("as many shake hands as may", || {
        (daemon.connection_count() == 50).then_some(())
    });
    let mut devices: Vec<Device> = (0..50)
        .map(|index| daemon.log_in(&format!("truck-{index}")))
        .collect();
    devices.iter_mut().for_each(Device::ping);
    assert_eq!(failed(&daemon, "timeout"), 0);
}

#[test]
fn the_header_of_a_balancer_comes_before_tls() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority)
        .set("device.proxy_protocol=required")
        .start();
    let mut stream = connect_plain(&daemon);
    stream
        .write_all(b"PROXY TCP4 203.0.113.7 10.0.0.1 55555 4000\r\n")
        .unwrap();
    let stream = encrypt(stream, authority.client()).unwrap();
    let _device = Device::encrypted(stream).logged_in("truck");
    assert_eq!(
        daemon.vehicle("truck")["remoteAddress"],
        "203.0.113.7:55555"
    );
    // Without a header there is no handshake.
    assert!(connect_tls(daemon.device_tls(), authority.client()).is_err());
    daemon.logged("device refused: no valid PROXY header");
}

#[test]
fn a_renewed_certificate_leaves_open_connections_alone() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let mut open = connect(&daemon, &authority).logged_in("truck");
    let renewed = authority.issue();
    renewed.write_to(daemon.folder());
    daemon.logged_containing("TLS files exchanged");
    open.ping();
    let stream = connect_tls(daemon.device_tls(), authority.client()).unwrap();
    assert_eq!(stream.conn.peer_certificates().unwrap()[0], *renewed.der());
    let metrics = daemon.get("/metrics").text().unwrap();
    let gauge = "vehicle_gateway_certificate_expiry_timestamp_seconds{listener=\"device\"} ";
    assert!(metrics.contains(gauge), "{metrics}");
}
