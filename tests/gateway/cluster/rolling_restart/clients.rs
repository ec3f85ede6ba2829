//! HTTP clients that send one request after the other and keep the responses.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use fastrand::Rng;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet};

use super::{CLIENTS, VEHICLES, id_of};

/// A response to a client.
#[derive(Debug)]
pub(super) struct ClientResponse {
    pub(super) device_id: String,
    /// The command of the request; empty if it was a read.
    pub(super) sentence: &'static str,
    status: u16,
    /// The problem type, or the status of a success.
    name: String,
    pub(super) command: Option<String>,
    pub(super) reply: Option<String>,
}

impl ClientResponse {
    /// The state of the command that this response implies.
    ///
    /// Other responses are failures while instances are restarted one at a time: no vehicle is offline, the database
    /// and Redis are up, and the owner of a vehicle always answers. Errors of the balancer itself have no name.
    pub(super) fn state(&self) -> &'static str {
        let name = self.name.trim_start_matches("urn:vehicle-gateway:problem:");
        match (self.status, name) {
            (200, "done" | "CONNECTED") => "done",
            (200, "") if self.sentence.is_empty() => "",
            (409, "vehicle-disconnected") => "disconnected",
            (504, "vehicle-no-answer") => "no-answer",
            (504, "command-expired") => "expired",
            _ => panic!("not an outcome of a command: {self:?}"),
        }
    }
}

/// All clients.
pub(super) struct Clients {
    answers: Arc<Mutex<Vec<ClientResponse>>>,
    tasks: JoinSet<()>,
    over: watch::Sender<bool>,
}

impl Clients {
    pub(super) fn start(balancer: SocketAddr, rng: &mut Rng) -> Self {
        let (over, receiver) = watch::channel(false);
        let answers = Arc::default();
        let mut tasks = JoinSet::new();
        for _ in 0..CLIENTS {
            let answers = Arc::clone(&answers);
            let receiver = receiver.clone();
            tasks.spawn(send_requests(balancer, answers, receiver, rng.fork()));
        }
        Self {
            answers,
            tasks,
            over,
        }
    }

    /// The number of responses so far.
    pub(super) fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Waits for the last responses and returns all.
    pub(super) async fn stop(self) -> Vec<ClientResponse> {
        self.over.send_replace(true);
        self.tasks.join_all().await;
        std::mem::take(&mut *self.answers.lock().unwrap())
    }
}

async fn send_requests(
    balancer: SocketAddr,
    answers: Arc<Mutex<Vec<ClientResponse>>>,
    over: watch::Receiver<bool>,
    mut rng: Rng,
) {
    let client = Client::builder()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap();
    while !*over.borrow() {
        let id = id_of(rng.usize(..VEHICLES));
        let url = format!("http://{balancer}/service/{id}");
        let order = |what: &str| client.post(format!("{url}/{what}")).json(&json!({}));
        let (request, sentence) = match rng.u32(..5) {
            0 => (client.get(format!("{url}/fetch-info")), "HOW'S IT GOING?"),
            1 | 2 => (order("turnOn"), "HEY YOU, RUN!"),
            3 => (order("turnOff"), "HEY YOU, REST!"),
            _ => (
                client.get(format!("http://{balancer}/vehicles?limit=10")),
                "",
            ),
        };
        let response = request.send().await.unwrap();
        let status = response.status().as_u16();
        // Errors of the balancer itself are not JSON.
        let body: Value = response.json().await.unwrap_or_default();
        let text = |key: &str| body[key].as_str().map(str::to_owned);
        let answer = ClientResponse {
            device_id: id,
            sentence,
            status,
            name: text("type").or(text("status")).unwrap_or_default(),
            command: text("commandId"),
            reply: text("reply"),
        };
        answers.lock().unwrap().push(answer);
    }
}
