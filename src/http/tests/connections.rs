//! HTTP connections over sockets.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{Api, OPTIONS};
use crate::http::{HttpOptions, serve};

const REQUEST: &[u8] = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";

pub(super) struct RunningServer {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<()>,
}

pub(super) async fn start(router: Router, grace: Duration) -> RunningServer {
    start_with(OPTIONS, router, grace).await
}

pub(super) async fn start_with(
    options: HttpOptions,
    router: Router,
    grace: Duration,
) -> RunningServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let task = tokio::spawn(serve(
        listener,
        None,
        router,
        options,
        shutdown.clone(),
        grace,
    ));
    RunningServer {
        address,
        shutdown,
        task,
    }
}

impl RunningServer {
    pub(super) async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }
}

/// Reads until the server closes.
pub(super) async fn rest_of(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    let read = stream.read_to_string(&mut text);
    tokio::time::timeout(Duration::from_secs(10), read)
        .await
        .unwrap()
        .unwrap();
    text
}

/// Reads one response and leaves the connection open.
pub(super) async fn answer(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"}") {
        let byte = tokio::time::timeout(Duration::from_secs(10), stream.read_u8());
        text.push(byte.await.unwrap().unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn an_incomplete_request_header_times_out() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    for half in [&b"GET /health HTTP/1.1\r\nHo"[..], b""] {
        let mut client = server.connect().await;
        client.write_all(half).await.unwrap();
        let began = Instant::now();
        assert!(!rest_of(&mut client).await.contains("200 OK"));
        assert!(began.elapsed() >= OPTIONS.header_timeout / 2);
    }
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_the_header_timeout() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    let mut client = server.connect().await;
    for _ in 0..2 {
        client.write_all(REQUEST).await.unwrap();
        assert!(answer(&mut client).await.starts_with("HTTP/1.1 200 OK"));
    }
    rest_of(&mut client).await;
}

#[tokio::test]
async fn shutdown_closes_idle_connections_at_once_and_lets_requests_finish() {
    let finish = CancellationToken::new();
    let may_finish = finish.clone();
    let began = CancellationToken::new();
    let has_begun = began.clone();
    let slow = async move || {
        has_begun.cancel();
        may_finish.cancelled().await;
        "{}"
    };
    let router = Router::new()
        .route("/slow", get(slow))
        .route("/health", get(async || "{}"));
    let server = start(router, Duration::from_secs(10)).await;
    let mut idle = server.connect().await;
    idle.write_all(REQUEST).await.unwrap();
    answer(&mut idle).await;
    let mut busy = server.connect().await;
    busy.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    began.cancelled().await;
    server.shutdown.cancel();
    rest_of(&mut idle).await;
    assert!(!server.task.is_finished());
    finish.cancel();
    assert!(rest_of(&mut busy).await.starts_with("HTTP/1.1 200 OK"));
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn a_request_longer_than_the_grace_period_is_aborted() {
    let began = CancellationToken::new();
    let has_begun = began.clone();
    let stuck = async move || {
        has_begun.cancel();
        std::future::pending::<&str>().await
    };
    let server = start(
        Router::new().route("/", get(stuck)),
        Duration::from_millis(50),
    )
    .await;
    let mut client = server.connect().await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    began.cancelled().await;
    server.shutdown.cancel();
    server.task.await.unwrap();
    assert_eq!(rest_of(&mut client).await, "");
}

#[tokio::test]
async fn a_client_that_does_not_read_its_response_times_out() {
    let began = CancellationToken::new();
    let has_begun = began.clone();
    let large = async move || {
        has_begun.cancel();
        vec![0_u8; 64 << 20]
    };
    let options = HttpOptions {
        request_timeout: Duration::from_millis(200),
        ..OPTIONS
    };
    let router = Router::new().route("/", get(large));
    let server = start_with(options, router, Duration::from_mins(1)).await;
    let mut client = server.connect().await;
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    began.cancelled().await;
    server.shutdown.cancel();
    // Long before the grace period ends.
    tokio::time::timeout(Duration::from_secs(20), server.task)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_chunked_body_above_the_limit_is_rejected() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    let mut client = server.connect().await;
    let size = OPTIONS.max_body + 1;
    let request = format!(
        "POST /vehicles HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{size:x}\r\n{}\r\n",
        " ".repeat(size)
    );
    client.write_all(request.as_bytes()).await.unwrap();
    let answer = answer(&mut client).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    assert!(answer.contains("body-too-large"));
}

#[tokio::test]
async fn a_request_without_one_host_is_refused() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    for (head, status) in [
        ("GET /health HTTP/1.1\r\n\r\n", 400),
        (
            "GET /health HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n",
            400,
        ),
        (
            "GET /nothing HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
            400,
        ),
        ("GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n", 200),
        ("GET http://gateway/health HTTP/1.1\r\n\r\n", 400),
        ("GET /health HTTP/1.0\r\n\r\n", 200),
    ] {
        let mut client = server.connect().await;
        client.write_all(head.as_bytes()).await.unwrap();
        let answer = answer(&mut client).await;
        let line = format!(" {status} ");
        assert_eq!(answer.find(&line), Some("HTTP/1.1".len()), "{head}{answer}");
        if status == 400 {
            assert!(answer.contains("invalid-parameter") && answer.contains("\"Host\""));
        }
    }
}
