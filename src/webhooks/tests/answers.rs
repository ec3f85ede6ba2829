//! What receivers answer, and how they fail to.

use std::time::{Duration, SystemTime};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::receiver::{
    PATIENCE, Receiver, SHORT, answered, delivery, failed, listener, nobody_connected, sender,
    to_one,
};
use crate::webhooks::{Outcome, sender::BODY_PATIENCE};

#[tokio::test]
async fn every_2xx_is_success() {
    for status in [200, 201, 202, 204, 299] {
        let attempt = answered(&format!("{status} Fine")).await;
        assert_eq!(attempt.outcome, Outcome::Delivered, "{status}");
        assert_eq!(attempt.status, Some(status));
    }
}

#[tokio::test]
async fn what_is_410_is_gone() {
    let attempt = answered("410 Gone").await;
    assert_eq!(attempt.outcome, Outcome::Gone);
    assert_eq!(attempt.status, Some(410));
}

#[tokio::test]
async fn the_endpoint_is_to_blame_for_429_and_5xx_and_the_message_for_the_rest() {
    for (status, is_endpoint) in [
        (304, false),
        (400, false),
        (401, false),
        (404, false),
        (413, false),
        (429, true),
        (500, true),
        (502, true),
        (503, true),
        (599, true),
    ] {
        let attempt = answered(&format!("{status} No")).await;
        let (retry_after, blamed, error) = failed(&attempt);
        assert_eq!(blamed, is_endpoint, "{status}");
        assert_eq!(retry_after, None);
        assert!(error.starts_with(&format!("answered {status}")), "{error}");
        assert_eq!(attempt.status, Some(status));
    }
}

#[tokio::test]
async fn a_receiver_may_say_when_it_wants_to_be_asked_again() {
    let attempt = answered("429 Too Many Requests\r\nretry-after: 120").await;
    assert_eq!(
        failed(&attempt),
        (Some(Duration::from_mins(2)), true, "answered 429")
    );
    let date = httpdate::fmt_http_date(SystemTime::now() + Duration::from_mins(10));
    let attempt = answered(&format!("503 Service Unavailable\r\nretry-after: {date}")).await;
    let (retry_after, ..) = failed(&attempt);
    let retry_after = retry_after.unwrap().as_secs();
    assert!((500..=600).contains(&retry_after), "{retry_after}");
}

#[tokio::test]
async fn a_redirect_is_a_failure_and_nobody_goes_there() {
    for status in [301, 302, 303, 307, 308] {
        let (elsewhere, address) = listener().await;
        let attempt = answered(&format!("{status} Moved\r\nlocation: http://{address}/")).await;
        let (_, is_endpoint, error) = failed(&attempt);
        assert!(!is_endpoint);
        assert_eq!(
            error,
            format!("answered {status}; redirects are not followed")
        );
        nobody_connected(elsewhere).await;
    }
}

#[tokio::test]
async fn a_port_on_which_nobody_listens_refuses() {
    let (listener, address) = listener().await;
    drop(listener);
    let attempt = sender(PATIENCE)
        .send(&delivery(format!("http://{address}"), true))
        .await;
    assert_eq!(failed(&attempt), (None, true, "connection refused"));
    assert_eq!(attempt.status, None);
}

#[tokio::test]
async fn a_connection_that_ends_instead_of_an_answer_is_told_as_it_ended() {
    let attempt = to_one(PATIENCE, async |stream| {
        socket2::SockRef::from(&stream)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    })
    .await;
    assert_eq!(failed(&attempt), (None, true, "the connection was reset"));
    let attempt = to_one(PATIENCE, async |mut stream| {
        stream.write_all(b"HTTP/1.1 200 O").await.unwrap();
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (None, true, "the connection was closed before an answer")
    );
}

#[tokio::test]
async fn what_is_no_http_is_no_answer() {
    let attempt = to_one(PATIENCE, async |mut stream| {
        stream.write_all(b"OK, THANKS!\r\n\r\n").await.unwrap();
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (None, true, "what answers does not speak HTTP")
    );
}

#[tokio::test]
async fn an_endless_head_is_not_kept() {
    let attempt = to_one(PATIENCE, async |mut stream| {
        let line = format!("x: {}\r\n", "a".repeat(8000));
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        while stream.write_all(line.as_bytes()).await.is_ok() {}
    })
    .await;
    assert_eq!(
        failed(&attempt),
        (None, true, "the head of the answer is too large")
    );
}

#[tokio::test]
async fn a_receiver_that_does_not_answer_is_given_up_in_time() {
    let attempt = to_one(SHORT, async |mut stream| {
        // Until the sender hangs up.
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    })
    .await;
    assert_eq!(failed(&attempt), (None, true, "no answer within 200 ms"));
    assert!(attempt.took >= SHORT && attempt.took < PATIENCE);
}

#[tokio::test]
async fn a_receiver_that_answers_a_byte_now_and_then_is_given_up_in_time() {
    let attempt = to_one(SHORT, async |mut stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\nx: ").await.unwrap();
        let mut pause = tokio::time::interval(Duration::from_millis(10));
        while stream.write_all(b"a").await.is_ok() {
            pause.tick().await;
        }
    })
    .await;
    assert_eq!(failed(&attempt), (None, true, "no answer within 200 ms"));
}

#[tokio::test]
async fn the_head_of_an_answer_decides_whatever_its_body_does() {
    for (head, outcome) in [("200 OK", Outcome::Delivered), ("410 Gone", Outcome::Gone)] {
        let head = format!("HTTP/1.1 {head}\r\ncontent-length: 5\r\n\r\nsl");
        let attempt = to_one(SHORT, async move |mut stream| {
            stream.write_all(head.as_bytes()).await.unwrap();
            assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        })
        .await;
        assert_eq!(attempt.outcome, outcome);
        assert_eq!(attempt.answer, "sl");
        assert!(attempt.took < SHORT);
    }
}

#[tokio::test]
async fn a_late_body_is_not_waited_for_as_long_as_a_late_head() {
    let began = Instant::now();
    let attempt = to_one(PATIENCE, async |mut stream| {
        let head = "HTTP/1.1 500 No\r\ncontent-length: 5\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
    })
    .await;
    assert_eq!(attempt.status, Some(500));
    let waited = began.elapsed();
    assert!(
        waited >= BODY_PATIENCE && waited < PATIENCE / 2,
        "{waited:?}"
    );
}

#[tokio::test]
async fn of_an_endless_body_the_beginning_is_kept() {
    let attempt = to_one(PATIENCE, async |mut stream| {
        stream.write_all(b"HTTP/1.1 500 No\r\n\r\n").await.unwrap();
        while stream.write_all(&[b'a'; 8000]).await.is_ok() {}
    })
    .await;
    assert_eq!(attempt.status, Some(500));
    assert_eq!(attempt.answer, "a".repeat(1024));
}

#[tokio::test]
async fn two_deliveries_share_a_connection_also_behind_an_answer_that_is_not_kept_whole() {
    for length in [0, 5000] {
        let body = "a".repeat(length);
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
        let receiver = Receiver::that_says(answer).await;
        let sender = sender(PATIENCE);
        for _ in 0..3 {
            let attempt = sender.send(&delivery(receiver.url(), true)).await;
            assert_eq!(attempt.outcome, Outcome::Delivered);
            assert_eq!(attempt.answer.len(), length.min(1024));
        }
        assert_eq!(receiver.connections(), 1);
    }
}

#[tokio::test]
async fn a_connection_with_a_large_answer_on_it_is_given_up() {
    let body = "a".repeat(1 << 20);
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let receiver = Receiver::that_says(answer).await;
    let sender = sender(PATIENCE);
    for _ in 0..2 {
        let attempt = sender.send(&delivery(receiver.url(), true)).await;
        assert_eq!(attempt.outcome, Outcome::Delivered);
    }
    assert_eq!(receiver.connections(), 2);
}
