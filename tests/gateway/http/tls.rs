//! The API inside TLS.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use rustls::{
    ClientConfig,
    version::{TLS12, TLS13},
};

use crate::support::{Authority, Builder, Daemon, PATIENCE, TlsStream, connect_tls, wait_until};

/// A daemon whose API has a certificate of this authority.
fn with_certificate_of(authority: &Authority) -> Builder {
    let builder = Daemon::builder();
    let files = authority.issue().write_to(builder.folder().path());
    builder.https(&files)
}

fn request(path: &str, connection: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: {connection}\r\n\r\n")
}

/// Sends a request and reads all of its response, up to the end that TLS vouches for.
fn get(stream: &mut TlsStream, path: &str) -> Vec<u8> {
    stream.write_all(request(path, "close").as_bytes()).unwrap();
    let mut response = Vec::new();
    // An end without close_notify is an error.
    stream.read_to_end(&mut response).unwrap();
    response
}

fn connect_plain(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// The number of failed handshakes for this reason.
fn failed(daemon: &Daemon, authority: &Authority, reason: &str) -> u64 {
    // A connection that was closed just now may still take the only slot.
    let metrics = wait_until("metrics are answered", || {
        let mut stream = connect_tls(daemon.http, authority.client()).unwrap();
        let metrics = String::from_utf8(get(&mut stream, "/metrics")).unwrap();
        metrics.starts_with("HTTP/1.1 200").then_some(metrics)
    });
    let name = format!(
        "vehicle_gateway_tls_handshakes_failed_total{{listener=\"http\",reason=\"{reason}\"}} "
    );
    let count = metrics.lines().find_map(|line| line.strip_prefix(&name));
    count.expect(&metrics).parse().unwrap()
}

#[test]
fn the_api_answers_in_both_versions_of_tls() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    for version in [&TLS12, &TLS13] {
        let mut stream = connect_tls(daemon.http, authority.client_of(&[version])).unwrap();
        assert_eq!(stream.conn.protocol_version(), Some(version.version));
        let response = String::from_utf8(get(&mut stream, "/health")).unwrap();
        assert!(response.starts_with("HTTP/1.1 200 OK"), "{response}");
    }
}

#[test]
fn http_1_1_is_agreed_upon() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let offering = |protocols: &[&str]| {
        let mut config = ClientConfig::clone(&authority.client());
        config.alpn_protocols = protocols.iter().map(|it| it.as_bytes().to_vec()).collect();
        connect_tls(daemon.http, config.into())
    };
    let stream = offering(&["h2", "http/1.1"]).unwrap();
    assert_eq!(stream.conn.alpn_protocol(), Some(&b"http/1.1"[..]));
    let error = offering(&["h2"]).unwrap_err().to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

#[test]
fn a_large_response_arrives_whole() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let mut stream = connect_tls(daemon.http, authority.client()).unwrap();
    let response = get(&mut stream, "/openapi.json");
    let head = response
        .windows(4)
        .position(|it| it == b"\r\n\r\n")
        .unwrap();
    let body: serde_json::Value = serde_json::from_slice(&response[head + 4..]).unwrap();
    assert!(body["paths"]["/vehicles"].is_object());
    assert!(response.len() > 64 << 10, "larger than the buffer of TLS");
}

#[test]
fn tls_1_1_is_refused_with_an_alert() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41];
    // Version 1.1, 32 random bytes, no session, one cipher suite, no compression.
    hello.extend([3, 2]);
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0xc0, 0x13, 1, 0]);
    let mut stream = connect_plain(daemon.http);
    stream.write_all(&hello).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    // Fatal: handshake_failure or protocol_version.
    assert!(
        matches!(answer[..], [0x15, 3, _, 0, 2, 2, 40 | 70]),
        "{answer:?}"
    );
    assert_eq!(failed(&daemon, &authority, "incompatible"), 1);
}

#[test]
fn a_client_of_another_authority_is_counted() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let stranger = Authority::new().client();
    let error = connect_tls(daemon.http, stranger).unwrap_err().to_string();
    assert!(error.contains("UnknownIssuer"), "{error}");
    wait_until("the refusal is counted", || {
        (failed(&daemon, &authority, "client-refused") == 1).then_some(())
    });
    let line = daemon.logged_containing("TLS handshake failed");
    assert_eq!(line["reason"], "client-refused");
}

#[test]
fn http_without_tls_is_told_to_use_https() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority).start();
    let mut stream = connect_plain(daemon.http);
    // Not carried out, although /health is open to everybody.
    stream
        .write_all(request("/health", "keep-alive").as_bytes())
        .unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).unwrap();
    assert!(response.starts_with("HTTP/1.1 421 "), "{response}");
    assert!(response.contains("use https://"), "{response}");
    assert_eq!(failed(&daemon, &authority, "plain-text"), 1);
}

#[test]
fn a_handshake_that_does_not_end_is_closed_and_frees_its_slot() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority)
        .set("http.header_timeout=1s")
        .set("http.max_connections=1")
        .start();
    let begun = Instant::now();
    // Nothing at all, the first byte, and the beginning of a record: they take the slot and some that are reserved.
    let mut slow = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00"].map(|beginning| {
        let mut stream = connect_plain(daemon.http);
        stream.write_all(beginning).unwrap();
        stream
    });
    for stream in &mut slow {
        assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0);
    }
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
    assert_eq!(failed(&daemon, &authority, "timeout"), 3);
}

#[test]
fn a_client_that_reads_nothing_is_closed() {
    let authority = Authority::new();
    let daemon = with_certificate_of(&authority)
        .set("http.request_timeout=1s")
        .set("log.filter=info,vehicle_gateway::http=debug")
        .start();
    let mut stream = connect_tls(daemon.http, authority.client()).unwrap();
    // More than all buffers hold: the requests are answered one after the other.
    let many = request("/openapi.json", "keep-alive").repeat(100);
    stream.write_all(many.as_bytes()).unwrap();
    let line = daemon.logged("HTTP connection failed");
    assert_eq!(line["error"], "error writing a body to connection");
}
