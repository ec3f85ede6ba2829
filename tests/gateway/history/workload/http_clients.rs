//! The HTTP clients of a run, what they share, and how they read a response.

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
use serde_json::Value;
use tokio::{sync::watch, task::JoinSet, time::sleep};

use super::command_requests::CommandSpec;
use crate::history::{
    payload::{FIRST_HTTP_MARKER, device_id},
    record::{
        CommandRequest, History, HttpResult, Marker, PresenceReading, RunClock, VehicleRequest,
    },
};

/// The addresses to which HTTP clients and the publisher connect.
pub(crate) struct HttpAddresses {
    /// The HTTP port of the balancer, followed by those of the instances.
    pub(crate) http: Vec<SocketAddr>,
    pub(crate) redis: SocketAddr,
}

/// What all clients of a run share.
pub(super) struct ClientContext {
    vehicles: usize,
    pub(super) addresses: HttpAddresses,
    pub(super) client: Client,
    pub(super) clock: RunClock,
    stopped: watch::Receiver<bool>,
    markers: AtomicI64,
    pub(super) command_requests: Mutex<Vec<CommandRequest>>,
    pub(super) vehicle_requests: Mutex<Vec<VehicleRequest>>,
    presence_readings: Mutex<Vec<PresenceReading>>,
    /// Recent commands with an idempotency key, to be requested again.
    pub(super) repeatable: Mutex<VecDeque<CommandSpec>>,
}

/// The tasks of all clients.
pub(crate) struct HttpClients {
    context: Arc<ClientContext>,
    tasks: JoinSet<()>,
    stop: watch::Sender<bool>,
}

impl HttpClients {
    /// Starts `size` clients that request commands, and one each that reads presence, reports for vehicles, deletes
    /// vehicles, and publishes commands.
    pub(crate) fn start(
        size: usize,
        vehicles: usize,
        addresses: HttpAddresses,
        clock: RunClock,
        rng: &mut Rng,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let client = Client::builder()
            .timeout(Duration::from_secs(20))
            .build()
            .unwrap();
        let context = Arc::new(ClientContext {
            vehicles,
            addresses,
            client,
            clock,
            stopped,
            markers: AtomicI64::new(FIRST_HTTP_MARKER),
            command_requests: Mutex::default(),
            vehicle_requests: Mutex::default(),
            presence_readings: Mutex::default(),
            repeatable: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        for _ in 0..size {
            tasks.spawn(Arc::clone(&context).request_commands(rng.fork()));
        }
        tasks.spawn(Arc::clone(&context).read_presence(rng.fork()));
        tasks.spawn(Arc::clone(&context).report(rng.fork()));
        tasks.spawn(Arc::clone(&context).delete_vehicles(rng.fork()));
        tasks.spawn(Arc::clone(&context).publish_commands(rng.fork()));
        Self {
            context,
            tasks,
            stop,
        }
    }

    /// Waits for the last response, and adds the record of all clients to the history.
    pub(crate) async fn stop(mut self, history: &mut History) {
        self.stop.send_replace(true);
        while let Some(done) = self.tasks.join_next().await {
            done.unwrap();
        }
        let context = &self.context;
        history.command_requests = std::mem::take(&mut *context.command_requests.lock().unwrap());
        history.vehicle_requests = std::mem::take(&mut *context.vehicle_requests.lock().unwrap());
        history.presence_readings = std::mem::take(&mut *context.presence_readings.lock().unwrap());
    }
}

impl ClientContext {
    pub(super) fn is_stopped(&self) -> bool {
        *self.stopped.borrow()
    }

    pub(super) fn next_marker(&self) -> Marker {
        self.markers.fetch_add(1, Ordering::Relaxed)
    }

    /// The balancer for most requests, else any of the addresses.
    pub(super) fn choose_address(&self, rng: &mut Rng) -> SocketAddr {
        let addresses = &self.addresses.http;
        if rng.f32() < 0.6 {
            addresses[0]
        } else {
            addresses[rng.usize(..addresses.len())]
        }
    }

    /// An eighth of the vehicles gets half of the requests, so that commands overlap.
    pub(super) fn choose_vehicle(&self, rng: &mut Rng) -> usize {
        let is_hot = rng.f32() < 0.5;
        if is_hot {
            rng.usize(..self.vehicles.div_ceil(8))
        } else {
            rng.usize(..self.vehicles)
        }
    }

    async fn read_presence(self: Arc<Self>, mut rng: Rng) {
        while !self.is_stopped() {
            let device_id = device_id(self.choose_vehicle(&mut rng));
            let address = self.choose_address(&mut rng);
            let url = format!("http://{address}/vehicles/{device_id}");
            let from = self.clock.now();
            if let Ok(response) = self.client.get(url).send().await
                && response.status() == 200
                && let Ok(vehicle) = response.json::<Value>().await
                && let Some(online) = vehicle["online"].as_bool()
            {
                let until = self.clock.now();
                self.presence_readings
                    .lock()
                    .unwrap()
                    .push(PresenceReading {
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

/// Sends a request and reads what the checker needs of its response.
pub(super) async fn send(request: RequestBuilder) -> HttpResult {
    let response = match request.send().await {
        Ok(response) => response,
        Err(error) => return HttpResult::NoResponse(error.to_string()),
    };
    let status = response.status().as_u16();
    // The balancer's own errors are no JSON.
    let body = response.json::<Value>().await.unwrap_or_default();
    let text = |key: &str| body[key].as_str().map(str::to_owned);
    let problem = text("type");
    let problem = problem.and_then(|name| {
        let name = name.strip_prefix("urn:vehicle-gateway:problem:");
        name.map(str::to_owned)
    });
    HttpResult::Response {
        status,
        name: problem.or_else(|| text("status")).unwrap_or_default(),
        command_id: text("commandId"),
        reply: text("reply"),
    }
}
