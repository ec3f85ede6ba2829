//! `vehicle-gateway health`, the health check of a container.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    process::Command,
    thread,
    time::{Duration, Instant, SystemTime},
};

use crate::support::{Authority, Daemon, IdentityFiles};

/// Runs the check against this `http.listen`; returns whether it is healthy, and standard error.
fn health(listen: &str) -> (bool, String) {
    health_with(listen, None)
}

/// Like [`health`], of a gateway that speaks HTTPS with this certificate.
fn health_with(listen: &str, files: Option<&IdentityFiles>) -> (bool, String) {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"));
    if let Some(files) = files {
        command
            .env("GATEWAY_HTTP__TLS__CERTIFICATE", &files.certificate)
            .env("GATEWAY_HTTP__TLS__KEY", &files.key);
    }
    let output = command
        .arg("health")
        .env("GATEWAY_HTTP__AUTH", "off")
        .env("GATEWAY_HTTP__LISTEN", listen)
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(output.stdout, b"");
    // The check must not create a database.
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    let stderr = String::from_utf8(output.stderr).unwrap();
    let code = output.status.code();
    assert!(code == Some(0) || code == Some(1), "{code:?} {stderr}");
    let lines = stderr.lines().count();
    assert_eq!(lines, usize::from(code == Some(1)), "{stderr}");
    (code == Some(0), stderr)
}

/// A server that gives this answer once.
fn server(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        assert_ne!(client.read(&mut [0; 4096]).unwrap(), 0);
        client.write_all(answer.as_bytes()).unwrap();
    });
    address
}

#[test]
fn a_gateway_is_healthy_also_on_an_unspecified_address() {
    let daemon = Daemon::start();
    let well = (true, String::new());
    assert_eq!(health(&daemon.http.to_string()), well);
    let port = daemon.http.port();
    assert_eq!(health(&format!("0.0.0.0:{port}")), well);
    let daemon = Daemon::builder()
        .set("http.listen=[::]:0")
        .set("http.auth=off")
        .start();
    let port = daemon.http.port();
    assert_eq!(health(&format!("[::]:{port}")), well);
}

#[test]
fn a_gateway_that_speaks_https_is_healthy_whatever_its_certificate() {
    let builder = Daemon::builder();
    let now = SystemTime::now();
    let day = Duration::from_hours(24);
    // For no name that the check calls it by, of no known authority, and over.
    let identity = Authority::new().issue_from(now - 2 * day, now - day);
    let files = identity.write_to(builder.folder().path());
    let daemon = builder.https(&files).start();
    let listen = daemon.http.to_string();
    assert_eq!(health_with(&listen, Some(&files)), (true, String::new()));
    let (is_healthy, output) = health(&listen);
    assert!(!is_healthy);
    assert!(output.contains("421"), "{output}");
    let plain = Daemon::start();
    let (is_healthy, output) = health_with(&plain.http.to_string(), Some(&files));
    assert!(!is_healthy);
    assert!(output.contains("no TLS with"), "{output}");
}

#[test]
fn a_closed_port_is_unhealthy() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    drop(taken);
    let (is_healthy, output) = health(&address.to_string());
    assert!(!is_healthy);
    assert!(
        output.contains(&address.to_string()) && output.contains("refused"),
        "{output}"
    );
}

#[test]
fn any_answer_but_200_is_unhealthy() {
    for (answer, reason) in [
        (
            "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n",
            "503",
        ),
        ("HTTP/1.1 204 No Content\r\n\r\n", "204"),
        ("I AM NO HTTP SERVER\r\n\r\n", "no answer"),
        ("", "no answer"),
    ] {
        let (is_healthy, output) = health(&server(answer).to_string());
        assert!(!is_healthy, "{answer}");
        assert!(output.contains(reason), "{answer}: {output}");
    }
}

#[test]
fn a_hanging_gateway_is_unhealthy_after_three_seconds() {
    let daemon = Daemon::start();
    daemon.signal("STOP");
    let started = Instant::now();
    let (is_healthy, output) = health(&daemon.http.to_string());
    let took = started.elapsed();
    assert!(!is_healthy);
    assert!(output.contains("did not answer within 3s"), "{output}");
    assert!(took >= Duration::from_secs(3), "{took:?}");
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[test]
fn settings_without_a_fixed_port_are_rejected() {
    let (is_healthy, output) = health("127.0.0.1:0");
    assert!(!is_healthy);
    assert!(output.contains("http.listen = 127.0.0.1:0"), "{output}");
}
