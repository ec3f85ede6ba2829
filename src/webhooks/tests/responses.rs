//! Responses of receivers, and failures to respond.

use std::time::{Duration, SystemTime};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::receiver::{
    PATIENCE, Receiver, SHORT, answered, client, failed, listener, no_connection_was_made,
    request_to, to_one,
};
use crate::{
    domain::{AttemptOutcome, FailureCause},
    webhooks::client::BODY_TIMEOUT,
};

#[tokio::test]
async fn every_2xx_is_a_delivery() {
    for status in [200, 201, 202, 204, 299] {
        let attempt = answered(&format!("{status} Fine")).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Delivered, "{status}");
        assert_eq!(attempt.record.status, Some(status));
    }
}

#[tokio::test]
async fn a_410_means_gone() {
    let attempt = answered("410 Gone").await;
    assert_eq!(attempt.outcome, AttemptOutcome::Gone);
    assert_eq!(attempt.record.status, Some(410));
}

#[tokio::test]
async fn status_429_and_5xx_are_the_fault_of_the_endpoint() {
    for (status, expected) in [
        (304, FailureCause::Message),
        (400, FailureCause::Message),
        (401, FailureCause::Message),
        (404, FailureCause::Message),
        (413, FailureCause::Message),
        (429, FailureCause::Endpoint),
        (500, FailureCause::Endpoint),
        (502, FailureCause::Endpoint),
        (503, FailureCause::Endpoint),
        (599, FailureCause::Endpoint),
    ] {
        let attempt = answered(&format!("{status} No")).await;
        let (retry_after, cause, error) = failed(&attempt);
        assert_eq!(cause, expected, "{status}");
        assert_eq!(retry_after, None);
        assert!(error.starts_with(&format!("answered {status}")), "{error}");
        assert_eq!(attempt.record.status, Some(status));
    }
}

#[tokio::test]
async fn retry_after_is_read_from_429_and_503() {
    let attempt = answered("429 Too Many Requests\r\nretry-after: 120").await;
    assert_eq!(
        failed(&attempt),
        (
            Some(Duration::from_mins(2)),
            FailureCause::Endpoint,
            "answered 429"
        )
    );
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_mins(10));
    let attempt = answered(&format!("503 Service Unavailable\r\nretry-after: {date}")).await;
    let (retry_after, ..) = failed(&attempt);
    let retry_after = retry_after.unwrap().as_secs();
    assert!((500..=600).contains(&retry_after), "{retry_after}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let (target, address) = listener().await;
        let attempt = answered(&format!("{status} Moved\r\nlocation: http://{address}/")).await;
        let (_, cause, error) = failed(&attempt);
        assert_eq!(cause, FailureCause::Message);
        assert_eq!(
            error,
            format!("answered {status}; redirects are not followed")
        );
        no_connection_was_made(target).await;
    }
}

#[tokio::test]
async fn a_closed_port_refuses_the_connection() {
    let (listener, address) = listener().await;
    drop(listener);
    let attempt = client(PATIENCE)
        .send(&request_to(format!("http://{address}"), true))
        .await;
    assert_eq!(
        failed(&attempt),
        (None, FailureCause::Endpoint, "connection refused")
    );
    assert_eq!(attempt.record.status, None);
}

#[tokio::test]
async fn a_connection_that_ends_early_is_described() {
    let attempt = to_one(PATIENCE, async |stream| {
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (None, FailureCause::Endpoint, "the connection was reset")
    );
    let attempt = to_one(PATIENCE, async |mut stream| {
        stream.write_all(b"HTTP/1.1 200 O").await.unwrap();
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the connection was closed before a response"
        )
    );
}

#[tokio::test]
async fn bytes_that_are_not_http_are_no_response() {
    let attempt = to_one(PATIENCE, async |mut stream| {
        stream.write_all(b"OK, THANKS!\r\n\r\n").await.unwrap();
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the server does not speak HTTP"
        )
    );
}

#[tokio::test]
async fn an_endless_head_is_cut_off() {
    let attempt = to_one(PATIENCE, async |mut stream| {
        let line = format!("x: {}\r\n", "a".repeat(8000));
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Endpoint,
            "the head of the response is too large"
        )
    );
}

#[tokio::test]
async fn a_silent_server_times_out() {
    let attempt = to_one(SHORT, async |mut stream| {
        // Until the client closes the connection.
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (None, FailureCause::Endpoint, "no response within 200 ms")
    );
    assert!(
        attempt.record.duration.unwrap() >= SHORT && attempt.record.duration.unwrap() < PATIENCE
    );
}

#[tokio::test]
async fn a_server_that_trickles_its_head_times_out() {
    let attempt = to_one(SHORT, async |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"a").await.is_ok() {
            pause.tick().await;
        }
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (None, FailureCause::Endpoint, "no response within 200 ms")
    );
}

#[tokio::test]
async fn the_head_decides_the_outcome_without_the_body() {
    for (head, outcome) in [
        ("200 OK", AttemptOutcome::Delivered),
        ("410 Gone", AttemptOutcome::Gone),
    ] {
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: 5\r\n\r\nsl");
        let attempt = to_one(SHORT, async move |mut stream| {
            stream.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        })
        .await;
        assert_eq!(attempt.outcome, outcome);
        assert_eq!(attempt.record.response.as_deref(), Some("sl"));
        assert!(attempt.record.duration.unwrap() < SHORT);
    }
}

#[tokio::test]
async fn a_body_has_a_shorter_timeout_than_a_head() {
    let began = Instant::now();
    let attempt = to_one(PATIENCE, async |mut stream| {
        let head = "HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    })
    .await;
    assert_eq!(attempt.record.status, Some(500));
    let waited = began.elapsed();
    assert!(
        waited >= BODY_TIMEOUT && waited < PATIENCE / 2,
        "{waited:?}"
    );
}

#[tokio::test]
async fn the_beginning_of_an_endless_body_is_stored() {
    let attempt = to_one(PATIENCE, async |mut stream| {
        stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'a'; 8000]).await.is_ok() {}
    })
    .await;
    assert_eq!(attempt.record.status, Some(500));
    assert_eq!(attempt.record.response, Some("a".repeat(1024)));
}

#[tokio::test]
async fn requests_share_a_connection_after_a_short_body() {
    for length in [0, 5000] {
        let body = "a".repeat(length);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        let receiver = Receiver::answering(answer).await;
        let client = client(PATIENCE);
        for _ in 0..3 {
            let attempt = client.send(&request_to(receiver.url(), true)).await;
            assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
            assert_eq!(
                attempt.record.response.map_or(0, |text| text.len()),
                length.min(1024)
            );
        }
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_is_closed_after_a_large_body() {
    let body = "a".repeat(1 << 20);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let receiver = Receiver::answering(answer).await;
    let client = client(PATIENCE);
    for _ in 0..2 {
        let attempt = client.send(&request_to(receiver.url(), true)).await;
        assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
    }
    assert_eq!(receiver.connections(), 2);
}
