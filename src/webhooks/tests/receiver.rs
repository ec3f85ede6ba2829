//! Receivers on real sockets, and what is sent to them.

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

use crate::webhooks::{Attempt, Delivery, Lookup, Outcome, Rules, Secret, Sender, SenderOptions};

pub(super) const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
pub(super) const BODY: &str = r#"{"type":"vehicle.online"}"#;
pub(super) const EMPTY: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// More than any of these tests takes.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);
/// A time that is over soon.
pub(super) const SHORT: Duration = Duration::from_millis(200);

pub(super) fn options(timeout: Duration) -> SenderOptions {
    SenderOptions {
        timeout,
        rules: Rules {
            allow_http: true,
            allow_private: false,
        },
        ca_file: None,
        lookup: Lookup::system(),
    }
}

pub(super) fn sender(timeout: Duration) -> Sender {
    Sender::new(&options(timeout)).unwrap()
}

/// One whose names all lead to this host.
pub(super) fn sender_of_names() -> Sender {
    let lookup = Lookup::new(async |_name| Ok(vec![Ipv4Addr::LOCALHOST.into()]));
    Sender::new(&SenderOptions {
        lookup,
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

pub(super) fn delivery(url: impl Into<String>, trusted: bool) -> Delivery {
    Delivery {
        url: url.into(),
        trusted,
        id: "msg_1".to_owned(),
        timestamp: now(),
        body: Bytes::from_static(BODY.as_bytes()),
        secret: Secret::parse(SECRET).unwrap(),
        old_secret: None,
    }
}

pub(super) async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The head of a request, lower case, after all of the request has come; none if the sender closed instead.
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

/// Says the same to every request.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    connections: Arc<AtomicUsize>,
    pub(super) heads: Arc<Mutex<Vec<String>>>,
}

impl Receiver {
    pub(super) async fn that_says(answer: impl Into<String>) -> Self {
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
                        // It may have been heard enough of.
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

/// Sends to a receiver that does this with its first connection, after the request.
pub(super) async fn to_one<F, A>(timeout: Duration, act: F) -> Attempt
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
    let attempt = sender(timeout)
        .send(&delivery(format!("http://{address}"), true))
        .await;
    receiver.abort();
    attempt
}

/// What an answer with nothing but this head means.
pub(super) async fn answered(head: &str) -> Attempt {
    let receiver =
        Receiver::that_says(format!("HTTP/1.1 {head}\r\ncontent-length: 0\r\n\r\n")).await;
    sender(PATIENCE).send(&delivery(receiver.url(), true)).await
}

#[track_caller]
pub(super) fn failed(attempt: &Attempt) -> (Option<Duration>, bool, &str) {
    match &attempt.outcome {
        Outcome::Failed {
            retry_after,
            is_endpoint,
            error,
        } => (*retry_after, *is_endpoint, error),
        other => panic!("{other:?}"),
    }
}

/// Fails if anybody but this function ever connected.
pub(super) async fn nobody_connected(listener: TcpListener) {
    let own = TcpStream::connect(listener.local_addr().unwrap());
    let own = own.await.unwrap().local_addr().unwrap();
    let (_, first) = listener.accept().await.unwrap();
    assert_eq!(first, own);
}
