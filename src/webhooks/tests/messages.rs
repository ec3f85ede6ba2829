//! What arrives at a receiver.

use reqwest::header::{HeaderMap, HeaderName};
use standardwebhooks::Webhook;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::receiver::{
    BODY, EMPTY, PATIENCE, Receiver, SECRET, delivery, failed, listener, sender,
};
use crate::webhooks::{Delivery, Outcome, Secret};

#[tokio::test]
async fn a_message_arrives_signed_by_both_secrets_and_with_its_sender() {
    let receiver = Receiver::that_says(EMPTY).await;
    let old = Secret::generate().unwrap();
    let attempt = sender(PATIENCE)
        .send(&Delivery {
            old_secret: Some(old.clone()),
            ..delivery(receiver.url(), true)
        })
        .await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
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
async fn a_receiver_of_standard_webhooks_accepts_what_arrives() {
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
    let attempt = sender(PATIENCE)
        .send(&delivery(format!("http://{address}"), true))
        .await;
    assert_eq!(attempt.outcome, Outcome::Delivered);
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
async fn a_message_whose_id_is_no_header_is_to_blame_itself() {
    let attempt = sender(PATIENCE)
        .send(&Delivery {
            id: "msg\n1".to_owned(),
            ..delivery("http://127.0.0.1/", true)
        })
        .await;
    assert_eq!(
        failed(&attempt),
        (None, false, "the message's id cannot be a header")
    );
}
