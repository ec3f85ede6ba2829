//! A receiver of webhooks: verifies each message with the public library, keeps it, and reacts as the test chooses.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use http::HeaderMap;
use serde_json::{Value, json};
use socket2::SockRef;
use standardwebhooks::Webhook;

use super::PATIENCE;

/// The reaction of a receiver to a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Answers with this status at once.
    Answer(u16),
    /// Answers with this status and never finishes the body.
    AnswerSlowly(u16),
    /// Never answers.
    Silence,
    /// Resets the connection.
    Reset,
    /// Answers 503 with this many seconds in `Retry-After`.
    Busy(u32),
}

impl From<u16> for Reaction {
    fn from(status: u16) -> Self {
        Self::Answer(status)
    }
}

/// A message that arrived, and the reaction to it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) id: String,
    /// The timestamp header of the attempt.
    pub(crate) timestamp: String,
    pub(crate) signature: String,
    pub(crate) raw: String,
    pub(crate) body: Value,
    pub(crate) reaction: Reaction,
}

impl Received {
    pub(crate) fn sequence(&self) -> i64 {
        self.body["data"]["sequence"].as_i64().unwrap()
    }

    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }

    pub(crate) fn device_id(&self) -> &str {
        self.body["data"]["deviceId"].as_str().unwrap()
    }

    /// The headers that a verifier needs.
    pub(crate) fn headers(&self) -> [(&'static str, &str); 3] {
        [
            ("webhook-id", &self.id),
            ("webhook-timestamp", &self.timestamp),
            ("webhook-signature", &self.signature),
        ]
    }

    pub(crate) fn is_delivered(&self) -> bool {
        use Reaction::{Answer, AnswerSlowly};
        matches!(self.reaction, Answer(200..300) | AnswerSlowly(200..300))
    }
}

#[derive(Default)]
struct Inbox {
    /// The `Location` of an answer 302.
    location: Mutex<String>,
    received: Mutex<Vec<Received>>,
    more: Condvar,
    secrets: Mutex<Vec<String>>,
    next: AtomicUsize,
}

/// An HTTP server that runs until the test ends.
pub(crate) struct Receiver {
    address: SocketAddr,
    inbox: Arc<Inbox>,
}

impl Receiver {
    /// The secret of endpoints in settings.
    pub(crate) const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

    /// Reacts to the nth message, counted from 0, as `react` says.
    pub(crate) fn start<R: Into<Reaction>>(
        react: impl Fn(usize) -> R + Send + Sync + 'static,
    ) -> Self {
        Self::start_with_body(move |nth, _body| react(nth))
    }

    /// Like [`Receiver::start`]; `react` also gets the message.
    pub(crate) fn start_with_body<R: Into<Reaction>>(
        react: impl Fn(usize, &Value) -> R + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            inbox: Arc::default(),
        };
        receiver.accept_secret(Self::SECRET);
        let inbox = Arc::clone(&receiver.inbox);
        let react = Arc::new(move |nth, body: &Value| react(nth, body).into());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (inbox, react) = (Arc::clone(&inbox), Arc::clone(&react));
                thread::spawn(move || serve(&stream.unwrap(), &inbox, &*react));
            }
        });
        receiver
    }

    /// Answers every message with a redirect.
    pub(crate) fn redirecting_to(location: &str) -> Self {
        let receiver = Self::start(|_| 302);
        location.clone_into(&mut receiver.inbox.location.lock().unwrap());
        receiver
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hooks", self.address)
    }

    /// The setting that makes this receiver an endpoint for these events; for all if none are named.
    pub(crate) fn setting(&self, events: &[&str]) -> String {
        setting(&[(self, events)])
    }

    /// Accepts messages that are signed with this secret, too.
    pub(crate) fn accept_secret(&self, secret: &str) {
        self.inbox.secrets.lock().unwrap().push(secret.to_owned());
    }

    /// All attempts so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap().clone()
    }

    /// The number of attempts so far.
    pub(crate) fn count(&self) -> usize {
        self.inbox.received.lock().unwrap().len()
    }

    /// Waits until `is_enough` accepts the attempts.
    #[track_caller]
    pub(crate) fn wait_for(&self, what: &str, is_enough: impl Fn(&[Received]) -> bool) {
        self.wait_for_within(PATIENCE, what, is_enough);
    }

    /// [`Receiver::wait_for`] with another timeout.
    #[track_caller]
    pub(crate) fn wait_for_within(
        &self,
        patience: Duration,
        what: &str,
        is_enough: impl Fn(&[Received]) -> bool,
    ) {
        let started = Instant::now();
        let mut received = self.inbox.received.lock().unwrap();
        while !is_enough(&received) {
            let left = patience.saturating_sub(started.elapsed());
            assert!(
                !left.is_zero(),
                "not within {patience:?}: {what} ({} attempts)",
                received.len()
            );
            received = self.inbox.more.wait_timeout(received, left).unwrap().0;
        }
    }

    /// Waits until this many messages are delivered, and returns all that are.
    #[track_caller]
    pub(crate) fn wait_for_delivered(&self, count: usize) -> Vec<Received> {
        let delivered =
            |received: &[Received]| received.iter().filter(|it| it.is_delivered()).count();
        self.wait_for("enough messages are delivered", |received| {
            delivered(received) >= count
        });
        let mut received = self.received();
        received.retain(Received::is_delivered);
        received
    }
}

/// The setting that makes these receivers endpoints for these events.
pub(crate) fn setting(receivers: &[(&Receiver, &[&str])]) -> String {
    let endpoints: Value = receivers
        .iter()
        .map(|(receiver, events)| {
            json!({ "url": receiver.url(), "secret": Receiver::SECRET, "events": events })
        })
        .collect();
    format!("webhooks.endpoints={endpoints}")
}

/// Serves requests on one connection until either side closes it.
fn serve(stream: &TcpStream, inbox: &Inbox, react: &dyn Fn(usize, &Value) -> Reaction) {
    let mut reader = BufReader::new(stream);
    // A gateway that is killed cuts the connection.
    while let Some((headers, raw)) = next_request(&mut reader) {
        let secrets = inbox.secrets.lock().unwrap().clone();
        let is_signed = secrets.iter().any(|secret| {
            let verifier = Webhook::new(secret).unwrap();
            verifier.verify(raw.as_bytes(), &headers).is_ok()
        });
        assert!(is_signed, "{headers:?} {raw}");
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        let body = serde_json::from_str(&raw).unwrap();
        let nth = inbox.next.fetch_add(1, Ordering::SeqCst);
        let reaction = react(nth, &body);
        inbox.received.lock().unwrap().push(Received {
            id: header("webhook-id"),
            timestamp: header("webhook-timestamp"),
            signature: header("webhook-signature"),
            body,
            raw,
            reaction,
        });
        inbox.more.notify_all();
        let mut more = String::new();
        let (status, body) = match reaction {
            Reaction::Answer(302) => {
                let location = inbox.location.lock().unwrap();
                more = format!("location: {location}\r\n");
                (302, "")
            }
            Reaction::Answer(status) => (status, ""),
            Reaction::Busy(seconds) => {
                more = format!("retry-after: {seconds}\r\n");
                (503, "")
            }
            Reaction::AnswerSlowly(status) => (status, "one byte of a hundred"),
            Reaction::Silence => return wait_for_exit(reader),
            Reaction::Reset => {
                let at_once = Some(Duration::ZERO);
                return SockRef::from(stream).set_linger(at_once).unwrap();
            }
        };
        let promised = if body.is_empty() { 0 } else { 100 };
        let answer =
            format!("HTTP/1.1 {status} Status\r\n{more}content-length: {promised}\r\n\r\n{body}");
        if (&mut &*stream).write_all(answer.as_bytes()).is_err() {
            return;
        }
        if promised > 0 {
            return wait_for_exit(reader);
        }
    }
}

fn wait_for_exit(mut reader: BufReader<&TcpStream>) {
    let mut rest = Vec::new();
    // An error ends the connection as well.
    let _ended = reader.read_to_end(&mut rest);
    assert_eq!(rest, b"", "a request before the previous answer");
}

fn next_request(reader: &mut BufReader<&TcpStream>) -> Option<(HeaderMap, String)> {
    let mut headers = HeaderMap::new();
    let mut line = String::new();
    if reader.read_line(&mut line).ok()? == 0 {
        return None;
    }
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else {
            break;
        };
        let name: http::HeaderName = name.parse().unwrap();
        headers.insert(name, value.parse().unwrap());
    }
    let length = headers["content-length"].to_str().unwrap();
    let mut body = vec![0; length.parse().unwrap()];
    reader.read_exact(&mut body).ok()?;
    Some((headers, String::from_utf8(body).unwrap()))
}
