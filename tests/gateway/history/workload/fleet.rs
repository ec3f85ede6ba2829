//! The vehicles of a run: devices that report, answer, leave, come back, and note what they see.

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

use crate::history::payload::id_of;
use crate::history::record::{Clock, Connection, Event, Marker, Seen};
use crate::history::workload::device_connection::End;
use crate::support::Dialect;

/// What all devices are about. It only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// As devices in the field.
    Run,
    /// They come back and stay, and answer what they are asked.
    Settle,
    /// They say once more that they are there, and nothing else.
    Count,
}

/// Where to connect.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) balancer: SocketAddr,
    /// The device ports of the instances.
    pub(crate) instances: Vec<SocketAddr>,
}

impl Places {
    /// Mostly the balancer. Instances are told a made-up address, as if one was in between.
    pub(crate) fn choose(&self, rng: &mut Rng) -> (SocketAddr, bool) {
        if self.instances.is_empty() || rng.f32() < 0.7 {
            (self.balancer, false)
        } else {
            (self.instances[rng.usize(..self.instances.len())], true)
        }
    }
}

/// One vehicle.
pub(crate) struct Vehicle {
    pub(crate) number: usize,
    pub(crate) id: String,
    pub(crate) dialect: Dialect,
    pub(crate) places: Places,
    pub(crate) phase: watch::Receiver<Phase>,
    clock: Clock,
    seen: Mutex<Vec<Seen>>,
    connections: AtomicUsize,
    markers: AtomicI64,
}

impl Vehicle {
    pub(crate) fn now_in(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(crate) fn next_connection(&self) -> Connection {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn next_marker(&self) -> Marker {
        self.markers.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn note(&self, connection: Connection, event: Event) {
        let at = self.clock.now();
        self.seen.lock().unwrap().push(Seen {
            at,
            connection,
            event,
        });
    }

    /// Until the end of the run. Returns the connections that are alive then, still open.
    async fn live(self: Arc<Self>, mut rng: Rng) -> Vec<TcpStream> {
        let mut forgotten = JoinSet::new();
        let mut alive = Vec::new();
        loop {
            let mut ends = JoinSet::new();
            // A device whose network changes may have two connections at once.
            let twice = self.now_in() == Phase::Run && rng.f32() < 0.08;
            for _ in 0..=usize::from(twice) {
                ends.spawn(Arc::clone(&self).converse(rng.fork()));
            }
            while let Some(end) = ends.join_next().await {
                match end.unwrap() {
                    End::Alive(stream) => alive.push(stream),
                    End::Forgot(line) => {
                        forgotten.spawn(line.wait_for_the_close(Arc::clone(&self)));
                    }
                    End::Over => {}
                }
            }
            match self.now_in() {
                Phase::Count => break,
                Phase::Settle => sleep(Duration::from_millis(rng.u64(20..200))).await,
                Phase::Run => {
                    let away = if rng.f32() < 0.1 {
                        1_000..5_000
                    } else {
                        5..400
                    };
                    // Whoever is away when the run is over is back before all counts as quiet: a connection that it has
                    // forgotten may stand for it until then.
                    let mut phase = self.phase.clone();
                    let over = phase.wait_for(|phase| *phase != Phase::Run);
                    let away = Duration::from_millis(rng.u64(away));
                    let _back = timeout(away, over).await;
                }
            }
        }
        while forgotten.join_next().await.is_some() {}
        alive
    }
}

/// All vehicles of a run.
pub(crate) struct Fleet {
    vehicles: Vec<Arc<Vehicle>>,
    lives: JoinSet<Vec<TcpStream>>,
    phase: watch::Sender<Phase>,
}

impl Fleet {
    /// So many vehicles, of both dialects.
    pub(crate) fn start(size: usize, places: &Places, clock: Clock, rng: &mut Rng) -> Self {
        let (phase, receiver) = watch::channel(Phase::Run);
        let mut lives = JoinSet::new();
        let vehicles = (0..size)
            .map(|number| {
                let vehicle = Arc::new(Vehicle {
                    number,
                    id: id_of(number),
                    dialect: Dialect::BOTH[number % 2],
                    places: places.clone(),
                    phase: receiver.clone(),
                    clock,
                    seen: Mutex::default(),
                    connections: AtomicUsize::new(0),
                    markers: AtomicI64::new(1),
                });
                lives.spawn(Arc::clone(&vehicle).live(rng.fork()));
                vehicle
            })
            .collect();
        Self {
            vehicles,
            lives,
            phase,
        }
    }

    /// Everybody comes back and stays.
    pub(crate) fn settle(&self) {
        self.phase.send_replace(Phase::Settle);
    }

    /// Everybody says whether it is there. The connections that are alive stay open.
    pub(crate) async fn count(&mut self) -> Vec<TcpStream> {
        self.phase.send_replace(Phase::Count);
        let mut alive = Vec::new();
        while let Some(life) = self.lives.join_next().await {
            alive.extend(life.unwrap());
        }
        alive
    }

    /// What all of them saw.
    pub(crate) fn seen(&self) -> BTreeMap<String, Vec<Seen>> {
        let vehicles = self.vehicles.iter();
        vehicles
            .map(|vehicle| (vehicle.id.clone(), vehicle.seen.lock().unwrap().clone()))
            .collect()
    }
}
