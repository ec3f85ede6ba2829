//! Responses to clients that are still sending.

use std::time::Duration;

use axum::{Router, routing::post};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::{
    Api, OPTIONS,
    connections::{RunningServer, start, start_with},
};
use crate::http::HttpOptions;

/// More than the buffers of both sockets hold, so that nobody can send it to a server that does not read.
const LARGE: usize = 20 << 20;

/// Sends all of it before it reads, as most clients do, and returns what comes until the server closes.
async fn send_then_read(server: &RunningServer, head: &str, body: Vec<u8>) -> String {
    let mut client = server.connect().await;
    let exchange = async {
        client.write_all(head.as_bytes()).await.unwrap();
        client.write_all(&body).await.unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).await.unwrap();
        text
    };
    tokio::time::timeout(Duration::from_secs(20), exchange)
        .await
        .unwrap()
}

fn head(request: &str, length: usize) -> String {
    format!(
        "{request} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    )
}

#[tokio::test]
async fn an_early_response_reaches_a_client_that_is_still_sending() {
    let options = HttpOptions {
        // The connections may linger a little longer than their clients.
        max_connections: 24,
        request_timeout: Duration::from_secs(20),
        ..OPTIONS
    };
    let api = Api::with(options).await;
    let server = start_with(options, api.router.clone(), Duration::ZERO).await;
    let typed =
        |content_type| head("POST /vehicles", LARGE).replace("application/json", content_type);
    let chunked = "POST /vehicles HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                   Transfer-Encoding: chunked\r\n\r\n1400000\r\n";
    for (head, status) in [
        (head("POST /vehicles", LARGE), 413),
        (chunked.to_owned(), 413),
        (head("POST /nothing", LARGE), 404),
        (head("POST /service/a%20b/turnOn", LARGE), 400),
        (head("DELETE /vehicles", LARGE), 405),
        (typed("text/plain"), 415),
    ] {
        for _ in 0..4 {
            let answer = send_then_read(&server, &head, vec![b' '; LARGE]).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status} ")),
                "{head}{answer}"
            );
            assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
            assert!(answer.ends_with('}'), "{answer}");
        }
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    let head = "GET /health HTTP/1.1\r\nHost: localhost\r\nX-Large: ";
    let answer = send_then_read(&server, head, vec![b'x'; LARGE]).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_slow_is_answered_while_it_comes() {
    let options = HttpOptions {
        request_timeout: Duration::from_millis(400),
        ..OPTIONS
    };
    let api = Api::with(options).await;
    let server = start_with(options, api.router.clone(), Duration::ZERO).await;
    let mut client = server.connect().await;
    let head = head("POST /vehicles", 1000);
    client.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}") {
        tokio::select! {
            byte = client.read_u8() => answer.push(byte.unwrap()),
            () = tokio::time::sleep(options.request_timeout / 20) => client.write_all(b" ").await.unwrap(),
        }
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    // The server has ended its side, and still takes what the client had on its way.
    client.write_all(b" ").await.unwrap();
    assert_eq!(client.read(&mut [0; 1]).await.unwrap(), 0);
    client.write_all(b" ").await.unwrap();
}

#[tokio::test]
async fn a_connection_is_kept_after_a_response_that_ignored_a_small_body() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    let mut client = server.connect().await;
    for _ in 0..3 {
        let request = head("POST /nothing", 2) + "{}";
        client.write_all(request.as_bytes()).await.unwrap();
        let answer = super::connections::answer(&mut client).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(!answer.contains("connection: close"), "{answer}");
    }
}

/// Both slots of the server are taken by clients that got an early response.
async fn refuse_two(server: &RunningServer) -> Vec<TcpStream> {
    let mut refused = Vec::new();
    for _ in 0..OPTIONS.max_connections {
        let mut client = server.connect().await;
        let head = head("POST /nothing", usize::MAX >> 1);
        client.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 404 "));
        refused.push(client);
    }
    refused
}

async fn expect_served(server: &RunningServer) {
    let mut next = server.connect().await;
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
    next.write_all(request).await.unwrap();
    let answer = super::connections::answer(&mut next).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn clients_that_go_on_sending_for_ever_are_cut() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    for mut client in refuse_two(&server).await {
        let endless = async { while client.write_all(&[b' '; 16 << 10]).await.is_ok() {} };
        tokio::time::timeout(Duration::from_secs(20), endless)
            .await
            .unwrap();
    }
    expect_served(&server).await;
}

#[tokio::test]
async fn clients_that_never_close_lose_their_connections() {
    let api = Api::new().await;
    let server = start(api.router.clone(), Duration::ZERO).await;
    let silent = refuse_two(&server).await;
    expect_served(&server).await;
    drop(silent);
}

#[tokio::test]
async fn a_trickle_after_an_early_response_ends_in_time() {
    let options = HttpOptions {
        request_timeout: Duration::from_secs(1),
        ..OPTIONS
    };
    let router = Router::new().route("/", post(async || "{}"));
    let server = start_with(options, router, Duration::ZERO).await;
    for mut client in refuse_two(&server).await {
        let trickle = async {
            let mut tick = tokio::time::interval(OPTIONS.header_timeout / 10);
            while client.write_all(b" ").await.is_ok() {
                tick.tick().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), trickle)
            .await
            .unwrap();
    }
}
