//! A receiver of webhooks: checks what comes by the public library, keeps it, and answers as it is told to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;
use standardwebhooks::Webhook;

use super::wait_until;

const SECRET: &str = "whsec_MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=";

/// A message that came, and what it was answered with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Received {
    pub(crate) id: String,
    pub(crate) body: Value,
    /// The status of the answer; 0 if the connection was closed instead.
    pub(crate) status: u16,
}

impl Received {
    pub(crate) fn sequence(&self) -> i64 {
        self.body["data"]["sequence"].as_i64().unwrap()
    }

    pub(crate) fn kind(&self) -> &str {
        self.body["type"].as_str().unwrap()
    }
}

/// Listens until the test ends.
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Receiver {
    /// Answers the nth message, counted from 0, with the status that this says; 0 closes the connection.
    pub(crate) fn start(answer: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let receiver = Self {
            address: listener.local_addr().unwrap(),
            received: Arc::default(),
        };
        let kept = Arc::clone(&receiver.received);
        let answer = Arc::new(answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                thread::spawn(move || serve(&stream.unwrap(), &kept, &*answer));
            }
        });
        receiver
    }

    /// The setting by which a gateway sends it these events; all of them if none are named.
    pub(crate) fn setting(&self, events: &[&str]) -> String {
        let endpoint = serde_json::json!([{
            "url": format!("http://{}/hooks", self.address),
            "secret": SECRET,
            "events": events,
        }]);
        format!("webhooks.endpoints={endpoint}")
    }

    /// All that came so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().unwrap().clone()
    }

    /// What was answered 200, once there are so many.
    pub(crate) fn delivered(&self, count: usize) -> Vec<Received> {
        wait_until("enough messages are delivered", || {
            let mut received = self.received();
            received.retain(|message| message.status == 200);
            (received.len() >= count).then_some(received)
        })
    }
}

/// Answers requests on one connection until the other side has enough.
fn serve(stream: &TcpStream, received: &Mutex<Vec<Received>>, answer: &dyn Fn(usize) -> u16) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut headers = http::HeaderMap::new();
        let mut line = String::new();
        // A gateway that was killed breaks off.
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        loop {
            line.clear();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            let Some((name, value)) = line.trim_end().split_once(": ") else {
                break;
            };
            let name: http::HeaderName = name.parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        let length = headers["content-length"].to_str().unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let verifier = Webhook::new(SECRET).unwrap();
        verifier.verify(&body, &headers).unwrap();
        let status = {
            let mut received = received.lock().unwrap();
            let status = answer(received.len());
            received.push(Received {
                id: headers["webhook-id"].to_str().unwrap().to_owned(),
                body: serde_json::from_slice(&body).unwrap(),
                status,
            });
            status
        };
        let response = format!("HTTP/1.1 {status} Whatever\r\ncontent-length: 0\r\n\r\n");
        if status == 0 || (&mut &*stream).write_all(response.as_bytes()).is_err() {
            return;
        }
    }
}
