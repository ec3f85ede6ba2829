//! Several gateways on one database and one Redis, behind one balancer.

use std::{
    net::SocketAddr,
    process::ExitStatus,
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::Duration,
};

use reqwest::blocking::{Client, Response};
use serde_json::Value;

use super::{
    Balancer, Daemon, Database, Device, PATIENCE, Redis, daemon::Builder, daemon_log::Log,
    free_ports::free_port, install_tls_provider, wait_until,
};

/// After this long without a commit an instance is declared dead.
pub(crate) const LEASE: Duration = Duration::from_secs(3);
/// A vehicle whose instance stopped or died goes offline after this long.
pub(crate) const GRACE: Duration = Duration::from_secs(2);

struct Member {
    builder: Builder,
    /// Its device and HTTP addresses, the same at every start.
    addresses: [SocketAddr; 2],
    daemon: Option<Daemon>,
    /// The logs of its earlier runs.
    earlier_logs: Vec<Arc<Log>>,
}

/// Gateways that act as one. They are numbered from 0, and called `gateway-1` and so on.
pub(crate) struct Cluster {
    // Fields drop in this order: gateways before the servers that they use.
    balancer: Balancer,
    members: Vec<Member>,
    redis: Redis,
    database: Database,
    url: String,
    client: Client,
}

/// Makes the pretended addresses of devices that bypass the balancer distinct.
static DIRECT: AtomicU16 = AtomicU16::new(1);

impl Cluster {
    /// Starts `size` gateways on a new database of this server and waits until all are ready.
    pub(crate) fn start(database: &Database, size: usize) -> Self {
        Self::start_with(database, size, &[])
    }

    /// Like [`Cluster::start`], with further settings for each gateway.
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
                    // Longer than the balancer's checks take.
                    .set("shutdown.drain_delay=700ms")
                    .set("shutdown.grace=5s");
                for setting in settings {
                    builder = builder.set(setting);
                }
                Member {
                    builder,
                    addresses: ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port))),
                    daemon: None,
                    earlier_logs: Vec::new(),
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
        wait_until("the balancer sees a ready gateway", || {
            let response = cluster.try_get("/ready/balancer");
            response.filter(|response| response.status() == 200)
        });
        wait_until("the balancer forwards devices", || {
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

    /// A gateway, which must be running.
    #[track_caller]
    pub(crate) fn instance(&self, index: usize) -> &Daemon {
        self.members[index]
            .daemon
            .as_ref()
            .expect("the instance is not running")
    }

    /// The running gateways.
    pub(crate) fn instances(&self) -> impl Iterator<Item = &Daemon> {
        self.members
            .iter()
            .filter_map(|member| member.daemon.as_ref())
    }

    /// The balancer's device address.
    pub(crate) fn device(&self) -> SocketAddr {
        self.balancer.devices
    }

    /// The balancer's HTTP address.
    pub(crate) fn http(&self) -> SocketAddr {
        self.balancer.api
    }

    /// The device and HTTP addresses of an instance, running or not.
    pub(crate) fn addresses(&self, index: usize) -> [SocketAddr; 2] {
        self.members[index].addresses
    }

    fn try_get(&self, path: &str) -> Option<Response> {
        let url = format!("http://{}{path}", self.http());
        self.client.get(url).send().ok()
    }

    /// GET through the balancer.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Response {
        self.try_get(path).unwrap()
    }

    /// POST through the balancer.
    #[track_caller]
    pub(crate) fn post(&self, path: &str, body: &Value) -> Response {
        let url = format!("http://{}{path}", self.http());
        self.client.post(url).json(body).send().unwrap()
    }

    /// A text device that is logged in through the balancer.
    #[track_caller]
    pub(crate) fn log_in(&self, device_id: &str) -> Device {
        Device::connect(self.device()).logged_in(device_id)
    }

    /// A device that is connected to this instance directly, with the PROXY header of a balancer.
    #[track_caller]
    pub(crate) fn connect_to(&self, index: usize) -> Device {
        let mut device = Device::connect(self.members[index].addresses[0]);
        let number = DIRECT.fetch_add(1, Ordering::Relaxed);
        let [high, low] = number.to_be_bytes();
        device.send(&proxy_header(SocketAddr::from(([10, 0, high, low], 1024))));
        device
    }

    /// A text device that is logged in at this instance.
    #[track_caller]
    pub(crate) fn log_in_at(&self, index: usize, device_id: &str) -> Device {
        self.connect_to(index).logged_in(device_id)
    }

    /// The log of an instance over all its runs.
    #[track_caller]
    pub(crate) fn log(&self, index: usize) -> Vec<Value> {
        self.logs(index).flat_map(|log| log.lines()).collect()
    }

    /// What was read of the log of an instance over all its runs, for reports.
    pub(crate) fn log_read(&self, index: usize) -> Vec<Value> {
        self.logs(index).flat_map(|log| log.lines_read()).collect()
    }

    fn logs(&self, index: usize) -> impl Iterator<Item = Arc<Log>> {
        let member = &self.members[index];
        let earlier = member.earlier_logs.iter().cloned();
        earlier.chain(member.daemon.iter().map(Daemon::shared_log))
    }

    /// Sends SIGKILL and waits for the exit.
    #[track_caller]
    pub(crate) fn kill(&mut self, index: usize) {
        self.instance(index).signal("KILL");
        self.wait_for_exit(index);
    }

    /// Sends SIGTERM and waits for the exit.
    #[track_caller]
    pub(crate) fn stop(&mut self, index: usize) -> ExitStatus {
        self.instance(index).signal("TERM");
        self.wait_for_exit(index)
    }

    /// Waits for the exit of an instance.
    #[track_caller]
    pub(crate) fn wait_for_exit(&mut self, index: usize) -> ExitStatus {
        let member = &mut self.members[index];
        let mut daemon = member.daemon.take().unwrap();
        let status = daemon.wait();
        member.earlier_logs.push(daemon.shared_log());
        status
    }

    /// Starts an instance that is not running, and waits until it is ready.
    #[track_caller]
    pub(crate) fn start_instance(&mut self, index: usize) {
        let member = &mut self.members[index];
        assert!(member.daemon.is_none(), "the instance is running");
        member.daemon = Some(member.builder.duplicate().start());
    }

    /// Stops an instance, expects success, and starts it again.
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

/// The header that a balancer sends for a device at this address (PROXY protocol, version 2).
pub(crate) fn proxy_header(device: SocketAddr) -> Vec<u8> {
    let SocketAddr::V4(device) = device else {
        panic!("pretended addresses are IPv4");
    };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend(device.ip().octets());
    header.extend([127, 0, 0, 1]);
    header.extend(device.port().to_be_bytes());
    header.extend(4000_u16.to_be_bytes());
    header
}
