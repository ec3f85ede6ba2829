//! The HTTP clients of a run: they ask things of vehicles, repeat requests, look, and note what they are told.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use reqwest::{Client, RequestBuilder};
use serde_json::{Value, json};
use tokio::{sync::watch, task::JoinSet, time::sleep};

use crate::history::payload::{OVER_HTTP, id_of};
use crate::history::record::{Clock, Errand, History, Marker, Polled, Request, Told};

/// How many requests with a key are remembered, to be repeated.
const REMEMBERED: usize = 20;

/// What all clients share.
pub(crate) struct Office {
    vehicles: usize,
    /// The balancer first, and then every instance.
    places: Vec<SocketAddr>,
    pub(crate) client: Client,
    pub(crate) clock: Clock,
    over: watch::Receiver<bool>,
    markers: AtomicI64,
    requests: Mutex<Vec<Request>>,
    pub(crate) errands: Mutex<Vec<Errand>>,
    polled: Mutex<Vec<Polled>>,
    /// Requests that had a key.
    repeatable: Mutex<VecDeque<Order>>,
}

/// What a client wants of a vehicle.
#[derive(Debug, Clone)]
struct Order {
    device_id: String,
    /// What the vehicle is to hear.
    sentence: String,
    /// Below `/service/{deviceId}/`.
    path: &'static str,
    body: Value,
    key: Option<String>,
}

/// All HTTP clients of a run.
pub(crate) struct Operators {
    office: Arc<Office>,
    tasks: JoinSet<()>,
    over: watch::Sender<bool>,
}

impl Operators {
    /// So many clients that ask, one that looks, and some that do other things.
    pub(crate) fn start(
        size: usize,
        vehicles: usize,
        places: Vec<SocketAddr>,
        redis: SocketAddr,
        clock: Clock,
        rng: &mut Rng,
    ) -> Self {
        let (over, receiver) = watch::channel(false);
        let client = Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let office = Arc::new(Office {
            vehicles,
            places,
            client,
            clock,
            over: receiver,
            markers: AtomicI64::new(OVER_HTTP),
            requests: Mutex::default(),
            errands: Mutex::default(),
            polled: Mutex::default(),
            repeatable: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..size {
            tasks.spawn(Arc::clone(&office).ask_on_and_on(rng.fork()));
        }
        tasks.spawn(Arc::clone(&office).look_on_and_on(rng.fork()));
        tasks.spawn(Arc::clone(&office).report_on_and_on(rng.fork()));
        tasks.spawn(Arc::clone(&office).delete_on_and_on(rng.fork()));
        tasks.spawn(Arc::clone(&office).publish_on_and_on(redis, rng.fork()));
        Self {
            office,
            tasks,
            over,
        }
    }

    /// Waits until the last request is answered, and adds what all were told to the history.
    pub(crate) async fn stop(mut self, history: &mut History) {
        self.over.send_replace(true);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        history.requests = std::mem::take(&mut *self.office.requests.lock().unwrap());
        history.errands = std::mem::take(&mut *self.office.errands.lock().unwrap());
        history.polled = std::mem::take(&mut *self.office.polled.lock().unwrap());
    }
}

impl Office {
    pub(crate) fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    pub(crate) fn next_marker(&self) -> Marker {
        self.markers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn some_place(&self, rng: &mut Rng) -> SocketAddr {
        if rng.f32() < 0.6 {
            self.places[0]
        } else {
            self.places[rng.usize(..self.places.len())]
        }
    }

    /// Some vehicles are asked more than others, so that commands meet.
    pub(crate) fn some_vehicle(&self, rng: &mut Rng) -> usize {
        let hot = rng.f32() < 0.5;
        if hot {
            rng.usize(..self.vehicles.div_ceil(8))
        } else {
            rng.usize(..self.vehicles)
        }
    }

    async fn ask_on_and_on(self: Arc<Self>, mut rng: Rng) {
        while !self.is_over() {
            let order = self.some_order(&mut rng);
            self.ask(&order, self.some_place(&mut rng)).await;
            sleep(Duration::from_millis(rng.u64(5..250))).await;
        }
    }

    fn some_order(&self, rng: &mut Rng) -> Order {
        if rng.f32() < 0.12 {
            let known = self.repeatable.lock().unwrap();
            if !known.is_empty() {
                return known[rng.usize(..known.len())].clone();
            }
        }
        let mut body = json!({"timeoutSeconds": rng.u32(1..4)});
        if rng.f32() < 0.35 {
            body["queue"] = json!(true);
            body["ttlSeconds"] = json!(rng.u32(1..15));
        }
        let (path, sentence) = match rng.u32(..100) {
            0..25 => ("turnOn", "HEY YOU, RUN!".to_owned()),
            25..50 => ("turnOff", "HEY YOU, REST!".to_owned()),
            50..65 => {
                let seconds = rng.u32(10..=3600);
                body["seconds"] = json!(seconds);
                (
                    "frequency",
                    format!("KEEP ME POSTED EVERY {seconds} SECONDS."),
                )
            }
            65..78 => ("fetch-info", "HOW'S IT GOING?".to_owned()),
            78..88 => {
                body["message"] = json!("HOW'S IT GOING?");
                ("command", "HOW'S IT GOING?".to_owned())
            }
            88..97 => {
                body["message"] = json!("HEY YOU, RUN!");
                ("command", "HEY YOU, RUN!".to_owned())
            }
            _ => ("disconnect", "GOTTA GO.".to_owned()),
        };
        let has_key = path != "fetch-info" && rng.f32() < 0.25;
        let order = Order {
            device_id: id_of(self.some_vehicle(rng)),
            sentence,
            path,
            body,
            key: has_key.then(|| format!("key-{:016x}", rng.u64(..))),
        };
        if order.key.is_some() {
            let mut known = self.repeatable.lock().unwrap();
            known.push_back(order.clone());
            if known.len() > REMEMBERED {
                known.pop_front();
            }
        }
        order
    }

    async fn ask(&self, order: &Order, place: SocketAddr) {
        let url = format!("http://{place}/service/{}/{}", order.device_id, order.path);
        let mut request = if order.path == "fetch-info" {
            let seconds = &order.body["timeoutSeconds"];
            self.client.get(format!("{url}?timeoutSeconds={seconds}"))
        } else {
            self.client.post(url).json(&order.body)
        };
        if let Some(key) = &order.key {
            request = request.header("Idempotency-Key", key);
        }
        let from = self.clock.now();
        let told = told(request).await;
        let until = self.clock.now();
        let pause = matches!(told, Told::Nothing(_));
        self.requests.lock().unwrap().push(Request {
            from,
            until,
            device_id: order.device_id.clone(),
            sentence: order.sentence.clone(),
            key: order.key.clone(),
            told,
        });
        if pause {
            sleep(Duration::from_millis(100)).await;
        }
    }

    async fn look_on_and_on(self: Arc<Self>, mut rng: Rng) {
        while !self.is_over() {
            let device_id = id_of(self.some_vehicle(&mut rng));
            let url = format!("http://{}/vehicles/{device_id}", self.some_place(&mut rng));
            let from = self.clock.now();
            if let Ok(response) = self.client.get(url).send().await
                && response.status() == 200
                && let Ok(vehicle) = response.json::<Value>().await
                && let Some(online) = vehicle["online"].as_bool()
            {
                let until = self.clock.now();
                self.polled.lock().unwrap().push(Polled {
                    from,
                    until,
                    device_id,
                    online,
                });
            }
            sleep(Duration::from_millis(rng.u64(10..60))).await;
        }
    }
}

/// Sends it and understands the answer.
pub(crate) async fn told(request: RequestBuilder) -> Told {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return Told::Nothing(error.to_string()),
    };
    let status = response.status().as_u16();
    let body = response.json::<Value>().await.unwrap_or_default();
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let problem = text("type");
    let problem = problem.and_then(|name| {
        let name = name.strip_prefix("urn:vehicle-gateway:problem:");
        name.map(str::to_owned)
    });
    Told::Answer {
        status,
        // The balancer's own errors are no JSON.
        name: problem.or_else(|| text("status")).unwrap_or_default(),
        command: text("commandId"),
        reply: text("reply"),
    }
}
