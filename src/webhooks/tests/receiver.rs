//! Receivers on real sockets, and a client that sends to them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use crate::{
    domain::{AttemptOutcome, FailureCause},
    webhooks::{
        DeliveryAttempt, Resolver, Secret, UrlPolicy, WebhookClient, WebhookClientOptions,
        WebhookRequest,
    },
};

pub(super) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub(super) const BODY: &str = r#"{"type":"vehicle.online"}"#;
pub(super) const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Longer than any of these tests takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A timeout for tests that wait for it.
pub(super) const SHORT: Duration = Duration::from_millis(200);

pub(super) fn options(timeout: Duration) -> WebhookClientOptions {
    WebhookClientOptions {
        timeout,
        policy: UrlPolicy {
            allow_http: true,
            allow_private: false,
            allow_any_port: false,
        },
        ca_file: None,
        resolver: Resolver::system(),
    }
}

pub(super) fn client(timeout: Duration) -> WebhookClient {
    WebhookClient::new(&options(timeout)).unwrap()
}

/// A client that resolves every name to this host.
pub(super) fn client_for_names() -> WebhookClient {
    let resolver = Resolver::new(async |_name| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    WebhookClient::new(&WebhookClientOptions {
        resolver,
        ..options(PATIENCE)
    })
    .unwrap()
}

pub(super) fn now() -> i64 {
    let seconds = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    i64::try_from(seconds).unwrap()
}

pub(super) fn request_to(url: impl Into<String>, trusted: bool) -> WebhookRequest {
    WebhookRequest {
        url: url.into(),
        trusted,
        id: "msg_1".to_owned(),
        timestamp: now(),
        body: Bytes::from_static(BODY.as_bytes()),
        secret: Secret::parse(SECRET).unwrap(),
        previous_secret: None,
    }
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// Reads a request and returns its head in lower case; `None` if the client closes the connection instead.
pub(super) async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8(bytes.clone()).unwrap();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_lowercase();
            let (_, length) = head.split_once("content-length: ").unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() == length {
                assert_eq!(body, BODY);
                return Some(head);
            }
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    }
}

/// Answers every request alike.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    pub(super) heads: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(super) async fn answering(answer: impl Into<String>) -> Self {
        let answer: Arc<str> = answer.into().into();
        let (listener, address) = listener().await;
        let receiver = Self {
            address,
            connections: Arc::default(),
            heads: Arc::default(),
        };
        let connections = Arc::clone(&receiver.connections);
        let heads = Arc::clone(&receiver.heads);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                connections.fetch_add(1, Ordering::SeqCst);
                let (answer, heads) = (Arc::clone(&answer), Arc::clone(&heads));
                tokio::spawn(async move {
                    while let Some(head) = request(&mut stream).await {
                        heads.lock().unwrap().push(head);
                        // The client may have closed the connection.
                        if stream.write_all(answer.as_bytes()).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        receiver
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/in?key=1", self.address)
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Sends to a receiver that calls `act` with its connection after the request.
pub(super) async fn to_one<F, A>(timeout: Duration, act: F) -> DeliveryAttempt
where
    F: FnOnce(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send,
{
    let (listener, address) = listener().await;
    let receiver = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await.unwrap();
        act(stream).await;
    });
    let attempt = client(timeout)
        .send(&request_to(format!("http://{address}"), true))
        .await;
    receiver.abort();
    attempt
}

/// The attempt that a response with this head and no body ends.
pub(super) async fn answered(head: &str) -> DeliveryAttempt {
    let receiver =
        Receiver::answering(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n")).await;
    client(PATIENCE)
        .send(&request_to(receiver.url(), true))
        .await
}

#[track_caller]
pub(super) fn failed(attempt: &DeliveryAttempt) -> (Option<Duration>, FailureCause, &str) {
    match attempt.outcome {
        AttemptOutcome::Failed { cause, retry_after } => {
            (retry_after, cause, attempt.record.error.as_deref().unwrap())
        }
        other => panic!("{other:?}"),
    }
}

/// Fails if any connection but that of this function was made.
pub(super) async fn no_connection_was_made(listener: TcpListener) {
    let own = TcpStream::connect(listener.local_addr().unwrap());
    let own = own.await.unwrap().local_addr().unwrap();
    let (_, first) = listener.accept().await.unwrap();
    assert_eq!(first, own);
}
