//! Health checks while every connection is in use.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Api, OPTIONS,
    connections::{RunningServer, answer, rest_of, start_with},
};
use crate::http::{HttpOptions, RESERVED_CONNECTIONS};

/// Longer than a test takes.
const LONG: Duration = Duration::from_mins(1);

/// A server all of whose slots are taken by idle connections, which it does not close.
async fn start_full(api: &Api) -> (RunningServer, Vec<TcpStream>) {
    let options = HttpOptions {
        header_timeout: LONG,
        ..OPTIONS
    };
    let server = start_with(options, api.router.clone(), Duration::ZERO).await;
    let mut held = Vec::new();
    for _ in 0..OPTIONS.max_connections {
        let mut client = ask(&server, "GET", "/health").await;
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 OK"));
        held.push(client);
    }
    (server, held)
}

async fn ask(server: &RunningServer, method: &str, path: &str) -> TcpStream {
    let mut client = server.connect().await;
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    client
}

#[tokio::test]
async fn a_health_check_answers_while_every_slot_is_taken() {
    let api = Api::new().await;
    let (server, _held) = start_full(&api).await;
    // More than there are reserved connections: each is closed after its response.
    for _ in 0..RESERVED_CONNECTIONS {
        for path in [
            "/health",
            "/ready",
            "/ready/balancer",
            "/health?from=balancer",
        ] {
            let response = rest_of(&mut ask(&server, "GET", path).await).await;
            assert!(response.starts_with("HTTP/1.1 200 OK"), "{path}{response}");
            assert!(response.contains("connection: close"), "{response}");
        }
    }
}

#[tokio::test]
async fn other_requests_are_refused_while_every_slot_is_taken() {
    let api = Api::new().await;
    let (server, mut held) = start_full(&api).await;
    for (method, path) in [
        ("GET", "/vehicles"),
        ("DELETE", "/vehicles/truck"),
        ("GET", "/healthy"),
    ] {
        let response = rest_of(&mut ask(&server, method, path).await).await;
        assert!(response.starts_with("HTTP/1.1 503 "), "{path}{response}");
        for part in [
            "connection: close",
            "retry-after",
            "request-timeout",
            "http.max_connections",
        ] {
            assert!(response.contains(part), "{part} in {response}");
        }
    }
    drop(held.pop());
    let began = Instant::now();
    // The server sees the end of the other connection a little later.
    loop {
        let mut client = ask(&server, "GET", "/vehicles").await;
        if answer(&mut client).await.starts_with("HTTP/1.1 200 OK") {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "still refused");
    }
}

#[tokio::test]
async fn silent_clients_hold_the_reserve_for_a_short_time_only() {
    let api = Api::new().await;
    let (server, _held) = start_full(&api).await;
    let mut silent = Vec::new();
    for _ in 0..RESERVED_CONNECTIONS {
        silent.push(server.connect().await);
    }
    let mut check = ask(&server, "GET", "/health").await;
    assert!(answer(&mut check).await.starts_with("HTTP/1.1 200 OK"));
}

#[tokio::test]
async fn connections_above_both_limits_wait_until_one_closes() {
    let api = Api::new().await;
    let (server, mut held) = start_full(&api).await;
    let mut silent = Vec::new();
    for _ in 0..RESERVED_CONNECTIONS {
        silent.push(server.connect().await);
    }
    let mut waiting = ask(&server, "GET", "/vehicles").await;
    let early = tokio::time::timeout(Duration::from_millis(50), waiting.read_u8()).await;
    assert!(early.is_err(), "served above the cap");
    drop(held.pop());
    assert!(answer(&mut waiting).await.starts_with("HTTP/1.1 200 OK"));
}
