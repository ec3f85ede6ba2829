//! The devices of a run: they connect, work, leave and come back, and record what they see.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use fastrand::Rng;
use tokio::{
    net::TcpStream,
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::device_connection::ConnectionEnd;
use crate::{
    history::{
        payload::device_id,
        record::{ConnectionNumber, DeviceEvent, Marker, Observation, RunClock},
    },
    support::Dialect,
};

/// What the whole fleet does at present. Phases only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    /// Devices behave as in the field: they disconnect, stop reading, and leave commands without a reply.
    Active,
    /// Devices reconnect, stay connected, and reply to every command.
    Settle,
    /// Devices send one last `PING.` to find out whether their connection is alive, and nothing else.
    Count,
}

/// The addresses to which devices connect.
#[derive(Debug, Clone)]
pub(crate) struct DeviceAddresses {
    pub(crate) balancer: SocketAddr,
    /// The device ports of the instances.
    pub(crate) instances: Vec<SocketAddr>,
}

impl DeviceAddresses {
    /// Chooses an address, and whether it is an instance's own. There the device sends a PROXY header with an address
    /// that it makes up, as a balancer would.
    pub(super) fn choose(&self, rng: &mut Rng) -> (SocketAddr, bool) {
        if self.instances.is_empty() || rng.f32() < 0.7 {
            (self.balancer, false)
        } else {
            (self.instances[rng.usize(..self.instances.len())], true)
        }
    }
}

/// One vehicle of the fleet, shared by its connections.
pub(super) struct FleetVehicle {
    pub(super) number: usize,
    pub(super) id: String,
    pub(super) dialect: Dialect,
    pub(super) addresses: DeviceAddresses,
    pub(super) phase: watch::Receiver<Phase>,
    clock: RunClock,
    observations: Mutex<Vec<Observation>>,
    connections: AtomicUsize,
    markers: AtomicI64,
}

impl FleetVehicle {
    pub(super) fn current_phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn next_connection(&self) -> ConnectionNumber {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn next_marker(&self) -> Marker {
        self.markers.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn observe(&self, connection: ConnectionNumber, event: DeviceEvent) {
        let at = self.clock.now();
        self.observations.lock().unwrap().push(Observation {
            at,
            connection,
            event,
        });
    }

    /// Runs until the fleet is counted. Returns the connections that are alive then, still open.
    async fn run(self: Arc<Self>, mut rng: Rng) -> Vec<TcpStream> {
        let mut abandoned = JoinSet::new();
        let mut alive = Vec::new();
        loop {
            let mut connections = JoinSet::new();
            // A device whose network changes may have two connections at once.
            let twice = self.current_phase() == Phase::Active && rng.f32() < 0.08;
            for _ in 0..=usize::from(twice) {
                connections.spawn(Arc::clone(&self).connect(rng.fork()));
            }
            while let Some(end) = connections.join_next().await {
                match end.unwrap() {
                    ConnectionEnd::Alive(stream) => alive.push(stream),
                    ConnectionEnd::Abandoned(connection) => {
                        abandoned.spawn(connection.read_at_end(Arc::clone(&self)));
                    }
                    ConnectionEnd::Closed => {}
                }
            }
            match self.current_phase() {
                Phase::Count => break,
                Phase::Settle => sleep(Duration::from_millis(rng.u64(20..200))).await,
                Phase::Active => self.stay_away(&mut rng).await,
            }
        }
        while abandoned.join_next().await.is_some() {}
        alive
    }

    /// Waits before the next connection, at most until the fleet settles. A vehicle that stayed away longer could count
    /// as online by a connection that it has abandoned, and then reconnect after the run was taken for quiet.
    async fn stay_away(&self, rng: &mut Rng) {
        let millis = if rng.f32() < 0.1 {
            1_000..5_000
        } else {
            5..400
        };
        let mut phase = self.phase.clone();
        let settled = phase.wait_for(|phase| *phase != Phase::Active);
        let _either = timeout(Duration::from_millis(rng.u64(millis)), settled).await;
    }
}

/// All vehicles of a run.
pub(crate) struct Fleet {
    vehicles: Vec<Arc<FleetVehicle>>,
    tasks: JoinSet<Vec<TcpStream>>,
    phase: watch::Sender<Phase>,
}

impl Fleet {
    /// Starts `size` vehicles, alternating between the two dialects.
    pub(crate) fn start(
        size: usize,
        addresses: &DeviceAddresses,
        clock: RunClock,
        rng: &mut Rng,
    ) -> Self {
        let (phase, receiver) = watch::channel(Phase::Active);
        let mut tasks = JoinSet::new();
        let vehicles = (0..size)
            .map(|number| {
                let vehicle = Arc::new(FleetVehicle {
                    number,
                    id: device_id(number),
                    dialect: Dialect::BOTH[number % 2],
                    addresses: addresses.clone(),
                    phase: receiver.clone(),
                    clock,
                    observations: Mutex::default(),
                    connections: AtomicUsize::new(0),
                    markers: AtomicI64::new(1),
                });
                tasks.spawn(Arc::clone(&vehicle).run(rng.fork()));
                vehicle
            })
            .collect();
        Self {
            vehicles,
            tasks,
            phase,
        }
    }

    /// Makes all vehicles reconnect and stay connected.
    pub(crate) fn settle(&self) {
        self.phase.send_replace(Phase::Settle);
    }

    /// Counts the connections that are alive, and returns them still open.
    pub(crate) async fn count(&mut self) -> Vec<TcpStream> {
        self.phase.send_replace(Phase::Count);
        let mut alive = Vec::new();
        while let Some(connections) = self.tasks.join_next().await {
            alive.extend(connections.unwrap());
        }
        alive
    }

    /// Returns the observations of each vehicle, by device id.
    pub(crate) fn observations(&self) -> BTreeMap<String, Vec<Observation>> {
        let vehicles = self.vehicles.iter();
        vehicles
            .map(|vehicle| {
                let observations = vehicle.observations.lock().unwrap();
                (vehicle.id.clone(), observations.clone())
            })
            .collect()
    }
}
