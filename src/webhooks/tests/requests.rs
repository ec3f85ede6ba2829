//! The requests that a receiver gets.

use reqwest::header::{HeaderMap, HeaderName};
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::receiver::{
    BODY, EMPTY, PATIENCE, Receiver, SECRET, client, failed, listener, request_to,
};
use crate::{
    domain::{AttemptOutcome, FailureCause},
    webhooks::{Secret, WebhookRequest},
};

#[tokio::test]
async fn a_request_is_signed_by_both_secrets_and_names_its_client() {
    let receiver = Receiver::answering(EMPTY).await;
    let old = Secret::generate().unwrap();
    let attempt = client(PATIENCE)
        .send(&WebhookRequest {
            previous_secret: Some(old.clone()),
            ..request_to(receiver.url(), true)
        })
        .await;
    assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
    let heads = receiver.heads.lock().unwrap();
    let [head] = heads.as_slice() else {
        panic!("{heads:?}");
    };
    assert!(head.starts_with("post /in?key=1 http/1.1\r\n"), "{head}");
    let version = env!("CARGO_PKG_VERSION");
    assert!(head.contains(&format!("\r\nuser-agent: vehicle-gateway/{version}")));
    assert!(head.contains("\r\ncontent-type: application/json"));
    assert!(head.contains("\r\nwebhook-id: msg_1"));
    assert_eq!(head.matches("v1,").count(), 2, "{head}");
}

#[tokio::test]
async fn the_reference_library_accepts_a_request() {
    let (listener, address) = listener().await;
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(BODY.as_bytes()) {
            assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0);
        }
        stream.write_all(EMPTY.as_bytes()).await.unwrap();
        String::from_utf8(bytes).unwrap()
    });
    let attempt = client(PATIENCE)
        .send(&request_to(format!("http://{address}"), true))
        .await;
    assert_eq!(attempt.outcome, AttemptOutcome::Delivered);
    let arrived = receiver.await.unwrap();
    let (head, body) = arrived.split_once("\r\n\r\n").unwrap();
    let headers: HeaderMap = head
        .lines()
        .skip(1)
        .map(|line| line.split_once(": ").unwrap())
        .map(|(name, value)| (HeaderName::try_from(name).unwrap(), value.parse().unwrap()))
        .collect();
    let verifier = Webhook::new(SECRET).unwrap();
    verifier.verify(body.as_bytes(), &headers).unwrap();
}

#[tokio::test]
async fn an_id_that_cannot_be_a_header_is_the_fault_of_the_message() {
    let attempt = client(PATIENCE)
        .send(&WebhookRequest {
            id: "msg\n1".to_owned(),
            ..request_to("http://127.0.0.1/", true)
        })
        .await;
    assert_eq!(
        failed(&attempt),
        (
            None,
            FailureCause::Message,
            "the message's id cannot be a header"
        )
    );
}
