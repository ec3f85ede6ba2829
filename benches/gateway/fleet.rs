//! Many devices in one process.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{Mutex, Semaphore},
    task::JoinSet,
};

/// Connections being opened at one time: more only overflow the listener's backlog.
const OPENING: usize = 4_096;

/// What a closed loop showed.
#[derive(Debug)]
pub(crate) struct Measured {
    pub(crate) exchanges: u64,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
}

impl Measured {
    pub(crate) fn rate(&self) -> f64 {
        self.exchanges as f64 / self.wall.as_secs_f64()
    }

    /// Seconds of processor time of the server a message.
    pub(crate) fn cpu_per_message(&self) -> f64 {
        self.cpu.as_secs_f64() / self.exchanges as f64
    }
}

/// Devices that are logged in.
pub(crate) struct Fleet {
    devices: Vec<Arc<Mutex<TcpStream>>>,
}

impl Fleet {
    /// Connects and logs in all at once; returns when the last one is greeted.
    pub(crate) async fn connect(server: SocketAddr, size: usize, name: &'static str) -> Self {
        let opening = Arc::new(Semaphore::new(OPENING));
        let mut logins = JoinSet::new();
        for index in 0..size {
            let opening = Arc::clone(&opening);
            logins.spawn(async move {
                let mut stream = {
                    let _opening = opening.acquire().await.unwrap();
                    TcpStream::connect(server).await.unwrap()
                };
                stream.set_nodelay(true).unwrap();
                exchange(
                    &mut stream,
                    format!("HELLO, I'M {name}-{index}!\n").as_bytes(),
                )
                .await;
                Arc::new(Mutex::new(stream))
            });
        }
        Self {
            devices: logins.join_all().await,
        }
    }

    /// Each device says `sentence` once and waits for its answer.
    pub(crate) async fn exchange_once(&self, sentence: &'static str) {
        for device in &self.devices {
            exchange(&mut *device.lock().await, sentence.as_bytes()).await;
        }
    }

    /// Each device says `sentence` and waits for its answer, over and over.
    pub(crate) async fn exchange(&self, sentence: &'static str, length: Duration) -> Measured {
        let started = Instant::now();
        let mut loops = JoinSet::new();
        for device in &self.devices {
            let device = Arc::clone(device);
            loops.spawn(async move {
                let mut stream = device.lock().await;
                let mut times = Vec::new();
                while started.elapsed() < length {
                    let asked = Instant::now();
                    exchange(&mut stream, sentence.as_bytes()).await;
                    times.push(asked.elapsed());
                }
                times
            });
        }
        measured(loops.join_all().await.concat(), started)
    }

    /// Each device reports so often, not all of them at once, and another state of charge each time.
    pub(crate) async fn report_each(&self, every: Duration, length: Duration) -> Measured {
        let started = Instant::now();
        let mut loops = JoinSet::new();
        for (index, device) in (0..).zip(&self.devices) {
            let device = Arc::clone(device);
            let begin = started + every * index / u32::try_from(self.devices.len()).unwrap();
            loops.spawn(async move {
                let mut stream = device.lock().await;
                let mut times = Vec::new();
                let mut next = tokio::time::interval_at(begin.into(), every);
                while started.elapsed() < length {
                    next.tick().await;
                    let charge = times.len() % 100;
                    let report =
                        format!("REPORT. I'M HERE 1 2, RUNNING AND CHARGED AT {charge}%.\n");
                    let asked = Instant::now();
                    exchange(&mut stream, report.as_bytes()).await;
                    times.push(asked.elapsed());
                }
                times
            });
        }
        measured(loops.join_all().await.concat(), started)
    }
}

fn measured(mut times: Vec<Duration>, started: Instant) -> Measured {
    let wall = started.elapsed();
    times.sort_unstable();
    Measured {
        exchanges: times.len() as u64,
        wall,
        cpu: Duration::ZERO,
        p50: times[times.len() / 2],
        p99: times[times.len() * 99 / 100],
    }
}

async fn exchange(stream: &mut TcpStream, sentence: &[u8]) {
    stream.write_all(sentence).await.unwrap();
    let mut buffer = [0; 256];
    let read = stream.read(&mut buffer).await.unwrap();
    assert!(
        buffer[..read].ends_with(b"\n"),
        "the server closed or said something odd"
    );
}
