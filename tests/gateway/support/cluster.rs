//! Several gateways on one database and one Redis, behind one balancer.

use std::{
    net::SocketAddr,
    process::ExitStatus,
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use reqwest::blocking::{Client, Response};
use serde_json::Value;

use super::{
    Balancer, Daemon, Database, Device, PATIENCE, Redis, daemon::Builder,
    database_server::free_port, install_tls_provider, wait_until,
};

/// After this long without a commit an instance is taken for dead.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// This long a vehicle whose instance stopped or died may be away.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

struct Member {
    builder: Builder,
    /// Where it listens while it runs: for devices, and for HTTP.
    addresses: [SocketAddr; 2],
    daemon: Option<Daemon>,
    /// What its earlier lives said.
    past: Vec<Value>,
}

/// Gateways that act as one. They are numbered from 0, and called `gateway-1` and so on.
pub(crate) struct Cluster {
    // Before what they depend on: dropped in this order.
    balancer: Balancer,
    members: Vec<Member>,
    redis: Redis,
    database: Database,
    url: String,
    client: Client,
}

/// Tells apart the made-up addresses of devices that connect without the balancer.
static DIRECT: AtomicU16 = AtomicU16::new(1);

impl Cluster {
    /// So many gateways on a new database of this server, all ready.
    pub(crate) fn start(database: &Database, size: usize) -> Self {
        Self::start_with(database, size, &[])
    }

    /// The same with further settings for each.
    pub(crate) fn start_with(database: &Database, size: usize, settings: &[&str]) -> Self {
        install_tls_provider();
        let redis = Redis::start();
        let url = database.new_url().unwrap();
        let members: Vec<Member> = (1..=size)
            .map(|number| {
                let ports = [free_port(), free_port()];
                let mut builder = Daemon::builder()
                    .on_url(&url)
                    .at(ports)
                    .set(&format!("instance.id=gateway-{number}"))
                    .set(&format!("redis.url={}", redis.url()))
                    .set(&format!("presence.lease={}s", LEASE.as_secs()))
                    .set(&format!("presence.offline_grace={}s", GRACE.as_secs()))
                    .set("device.proxy_protocol=required")
                    // Longer than the balancer takes to notice.
                    .set("shutdown.drain_delay=700ms")
                    .set("shutdown.grace=5s");
                for setting in settings {
                    builder = builder.set(setting);
                }
                Member {
                    builder,
                    addresses: ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
                    daemon: None,
                    past: Vec::new(),
                }
            })
            .collect();
        let ports: Vec<[u16; 2]> = members
            .iter()
            .map(|member| member.addresses.map(|address| address.port()))
            .collect();
        let mut cluster = Self {
            balancer: Balancer::watching(&ports),
            members,
            redis,
            database: database.clone(),
            url,
            client: Client::builder().timeout(PATIENCE).build().unwrap(),
        };
        for index in 0..size {
            cluster.start_instance(index);
        }
        wait_until("the balancer knows that they are ready", || {
            let response = cluster.try_get("/ready/balancer");
            response.filter(|response| response.status() == 200)
        });
        wait_until("the balancer lets devices through", || {
            let mut device = Device::connect(cluster.device());
            device.try_say("?").then(|| device.line()).flatten()
        });
        cluster
    }

    pub(crate) fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    pub(crate) fn redis(&self) -> &Redis {
        &self.redis
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.url
    }

    /// The one column that `sql` selects from the database, as text.
    pub(crate) fn query(&self, sql: &str) -> Vec<String> {
        super::query(&self.url, sql)
    }

    /// One of the gateways, which must be running.
    #[track_caller]
    pub(crate) fn instance(&self, index: usize) -> &Daemon {
        self.members[index]
            .daemon
            .as_ref()
            .expect("the instance is down")
    }

    /// Those that run.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Daemon> {
        self.members
            .iter()
            .filter_map(|member| member.daemon.as_ref())
    }

    /// Where devices connect at the balancer.
    pub(crate) fn device(&self) -> SocketAddr {
        self.balancer.devices
    }

    /// Where HTTP clients connect at the balancer.
    pub(crate) fn http(&self) -> SocketAddr {
        self.balancer.api
    }

    /// Where an instance listens for devices and for HTTP, running or not.
    pub(crate) fn addresses(&self, index: usize) -> [SocketAddr; 2] {
        self.members[index].addresses
    }

    fn try_get(&self, path: &str) -> Option<Response> {
        let url = format!("http://{}{path}", self.http());
        self.client.get(url).send().ok()
    }

    /// Asks through the balancer.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.try_get(path).unwrap()
    }

    /// Posts through the balancer.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        let url = format!("http://{}{path}", self.http());
        self.client.post(url).json(body).send().unwrap()
    }

    /// A text device that has logged in through the balancer.
    #[track_caller]
    pub(crate) fn log_in(&self, device_id: &str) -> Device {
        Device::connect(self.device()).logged_in(device_id)
    }

    /// A device that has connected to this instance without the balancer, as if it came from one.
    #[track_caller]
    pub(crate) fn connect_to(&self, index: usize) -> Device {
        let mut device = Device::connect(self.members[index].addresses[0]);
        let number = DIRECT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        device.send(&proxy_header(SocketAddr::from(([10, 0, high, low], 1024))));
        device
    }

    /// A text device that has logged in at this instance.
    #[track_caller]
    pub(crate) fn log_in_at(&self, index: usize, device_id: &str) -> Device {
        self.connect_to(index).logged_in(device_id)
    }

    /// Every line that an instance has said so far, in all its lives.
    pub(crate) fn log(&self, index: usize) -> Vec<Value> {
        let member = &self.members[index];
        let mut lines = member.past.clone();
        lines.extend(member.daemon.iter().flat_map(Daemon::log));
        lines
    }

    /// SIGKILL.
    #[track_caller]
    pub(crate) fn kill(&mut self, index: usize) {
        self.instance(index).signal("KILL");
        self.wait_for_exit(index);
    }

    /// SIGTERM, and the end of it.
    #[track_caller]
    pub(crate) fn stop(&mut self, index: usize) -> ExitStatus {
        self.instance(index).signal("TERM");
        self.wait_for_exit(index)
    }

    /// Waits until an instance has ended by itself.
    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self, index: usize) -> ExitStatus {
        let member = &mut self.members[index];
        let mut daemon = member.daemon.take().unwrap();
        let status = daemon.wait();
        member.past.extend(daemon.log());
        status
    }

    /// Starts it again where it was, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_instance(&mut self, index: usize) {
        let member = &mut self.members[index];
        assert!(member.daemon.is_none(), "the instance is running");
        member.daemon = Some(member.builder.duplicate().start());
    }

    /// SIGTERM, and a new start when it has ended well.
    #[track_caller]
    pub(crate) fn restart(&mut self, index: usize) {
        assert!(self.stop(index).success());
        self.start_instance(index);
    }

    /// SIGSTOP.
    #[track_caller]
    pub(crate) fn pause(&self, index: usize) {
        self.instance(index).signal("STOP");
    }

    /// SIGCONT.
    #[track_caller]
    pub(crate) fn resume(&self, index: usize) {
        self.instance(index).signal("CONT");
    }
}

/// What a balancer says first of a device at this address (PROXY protocol, version 2).
pub(crate) fn proxy_header(device: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(device) = device else {
        panic!("made-up addresses are of version 4");
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(device.ip().octets());
    header.extend([127, 0, 0, 1]);
    header.extend(device.port().to_be_bytes());
    header.extend(4000_u16.to_be_bytes());
    header
}
