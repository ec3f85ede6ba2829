//! `HAProxy` in front of daemons.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{Daemon, Device, free_ports::free_ports, wait_until};

/// A running balancer; killed when dropped.
pub(crate) struct Balancer {
    pub(crate) devices: SocketAddr,
    /// Address of the balanced REST API, if there is one.
    pub(crate) api: SocketAddr,
    log: PathBuf,
    child: Child,
    _folder: TempDir,
}

impl Balancer {
    /// Forwards connections to the daemon's device port and checks its health; `option` is a server option such as
    /// `send-proxy`.
    pub(crate) fn start(daemon: &Daemon, option: &str) -> Self {
        Self::run(FEW_OPEN_FILES, |devices, _api| {
            let settings = format!(
                "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
                 listen devices\n bind {devices}\n server gateway {} {option} check inter 100ms\n",
                daemon.device
            );
            (settings, devices)
        })
    }

    /// Balances the devices and requests of these daemons with the settings of `haproxy.cfg`. They are `gateway-1`,
    /// `gateway-2` and so on.
    pub(crate) fn in_front_of(daemons: &[&Daemon]) -> Self {
        let ports = daemons.iter().map(|daemon| ports(daemon));
        Self::with_open_files(&ports.collect::<Vec<_>>(), FEW_OPEN_FILES)
    }

    /// Like [`Balancer::in_front_of`], for gateways at these ports (devices, HTTP), on a system that allows it so many
    /// open files. Each connection takes two.
    pub(crate) fn with_open_files(gateways: &[[u16; 2]], open_files: u32) -> Self {
        let settings = |devices, api| (derived(gateways, [devices, api]), api);
        Self::run(open_files, settings)
    }

    /// Like [`Balancer::in_front_of`], for gateways that will listen on these ports (devices, HTTP). Checks their
    /// health five times a second.
    pub(super) fn watching(gateways: &[[u16; 2]]) -> Self {
        Self::run(FEW_OPEN_FILES, |devices, api| {
            let settings = derived(gateways, [devices, api]);
            let often = "default-server inter 200ms fastinter 200ms downinter 200ms fall 2 rise 1";
            let seldom = "default-server inter 2s fastinter 500ms downinter 1s fall 3 rise 1";
            assert!(settings.contains(seldom));
            (settings.replace(seldom, often), api)
        })
    }

    /// Starts `HAProxy` with the settings for a device port and an API port, and waits for the address that `settings`
    /// returns.
    fn run(
        open_files: u32,
        settings: impl Fn(SocketAddr, SocketAddr) -> (String, SocketAddr),
    ) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let log = folder.path().join("log");
        // Another process may take a port first; then HAProxy exits, and other ports are tried.
        for _ in 0..5 {
            let [devices, api] = free_ports().map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
            let (settings, open) = settings(devices, api);
            fs::write(&file, settings).unwrap();
            let output = fs::File::create(&log).unwrap();
            let script = format!("ulimit -n {open_files}; exec haproxy -db -f \"$1\"");
            let mut child = Command::new("sh")
                .args(["-c", &script, "sh"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .spawn()
                .unwrap();
            let up = wait_until("the balancer listens", || {
                if child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                TcpStream::connect(open).is_ok().then_some(true)
            });
            if up {
                return Self {
                    devices,
                    api,
                    log,
                    child,
                    _folder: folder,
                };
            }
        }
        panic!(
            "the balancer does not start (run the tests by ./scripts/test): {}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// A device that is connected through the balancer.
    pub(crate) fn connect(&self) -> Device {
        Device::connect(self.devices)
    }

    /// The log so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits until the balancer's log contains this text.
    #[track_caller]
    pub(crate) fn logged(&self, text: &str) {
        wait_until(text, || self.log().contains(text).then_some(()));
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have exited already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// The device port and the HTTP port of a daemon.
pub(crate) fn ports(daemon: &Daemon) -> [u16; 2] {
    [daemon.device.port(), daemon.http.port()]
}

/// Allowed by every system, and enough for most tests.
const FEW_OPEN_FILES: u32 = 1000;

/// `haproxy.cfg` for gateways at these ports (devices, HTTP), derived as in `scripts/cluster`.
fn derived(gateways: &[[u16; 2]], [devices, api]: [SocketAddr; 2]) -> String {
    let gateways = gateways
        .iter()
        .map(|[device, http]| format!("{http}:{device}"))
        .collect::<Vec<_>>()
        .join(" ");
    let output = Command::new("awk")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-v", &format!("gateways={gateways}")])
        .args(["-v", &format!("http={}", api.port())])
        .args(["-v", &format!("device={}", devices.port())])
        .args(["-f", "scripts/local-haproxy.awk", "haproxy.cfg"])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}
