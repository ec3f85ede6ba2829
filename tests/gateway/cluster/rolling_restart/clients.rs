//! HTTP clients that ask one thing after the other, and keep what they are told.

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

/// What a client was told.
#[derive(Debug)]
pub(super) struct ClientResponse {
    pub(super) device_id: String,
    /// What the vehicle was to hear; nothing if it was not asked.
    pub(super) sentence: &'static str,
    status: u16,
    /// The name of a problem, or a status of success.
    name: String,
    pub(super) command: Option<String>,
    pub(super) reply: Option<String>,
}

impl ClientResponse {
    /// The state of a command that this answer stands for.
    ///
    /// There is no other while instances are only restarted, one at a time: no vehicle is offline, the database and Redis
    /// are there, and whoever cannot be asked in time can be said so by the one that was asked. What the balancer
    /// answers itself has no name at all.
    pub(super) fn state(&self) -> &'static str {
        let name = self.name.trim_start_matches("urn:vehicle-gateway:problem:");
        match (self.status, name) {
            (200, "done" | "CONNECTED") => "done",
            (200, "") if self.sentence.is_empty() => "",
            (409, "vehicle-disconnected") => "disconnected",
            (504, "vehicle-no-answer") => "no-answer",
            (504, "command-expired") => "expired",
            _ => panic!("this is no outcome of a command: {self:?}"),
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

    /// How many answers there are so far.
    pub(super) fn count(&self) -> usize {
        self.answers.lock().unwrap().len()
    }

    /// Waits for the last answers, and returns all.
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
        // The balancer's own errors are no JSON.
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
