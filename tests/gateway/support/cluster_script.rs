//! `scripts/cluster`, run as a user runs it.

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use super::{
    Device,
    free_ports::free_ports,
    install_tls_provider,
    process::{OutputLines, child_processes, send_signal},
    wait_until,
};

/// A running cluster; stopped with SIGTERM when dropped.
pub(crate) struct ClusterScript {
    pub(crate) api: SocketAddr,
    device: SocketAddr,
    /// The folder with all its data.
    pub(crate) folder: PathBuf,
    child: Child,
}

impl ClusterScript {
    /// Starts this many gateways and waits until both ports are open.
    #[track_caller]
    pub(crate) fn start(gateways: usize) -> Self {
        Self::start_with(gateways, |_script| {})
    }

    /// Like [`ClusterScript::start`], with changes of the script's environment.
    #[track_caller]
    pub(crate) fn start_with(gateways: usize, change: impl FnOnce(&mut Command)) -> Self {
        install_tls_provider();
        let [http, device] = free_ports();
        let mut script = Self::command(http, device);
        change(&mut script);
        let mut child = script
            .arg(gateways.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = OutputLines::of(child.stdout.take().unwrap());
        let mut cluster = Self {
            folder: PathBuf::new(),
            api: SocketAddr::from(([127, 0, 0, 1], http)),
            device: SocketAddr::from(([127, 0, 0, 1], device)),
            child,
        };
        let last = output.wait_for("the last line", |line| {
            line.contains("Ctrl-C stops everything")
        });
        let folder = last.trim_start_matches("Logs are in ");
        cluster.folder = PathBuf::from(folder.split(". ").next().unwrap());
        cluster
    }

    /// The script with the gateway under test and these ports for the balancer.
    pub(crate) fn command(http: u16, device: u16) -> Command {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/cluster");
        let mut command = Command::new(script);
        command
            .env(
                "VEHICLE_GATEWAY_BINARY",
                env!("CARGO_BIN_EXE_vehicle-gateway"),
            )
            .env("CLUSTER_HTTP_PORT", http.to_string())
            .env("CLUSTER_DEVICE_PORT", device.to_string())
            // Low enough for every limit of open files.
            .env("GATEWAY_DEVICE__MAX_CONNECTIONS", "100")
            .stdin(Stdio::null());
        command
    }

    /// A device that is connected through the balancer.
    pub(crate) fn connect(&self) -> Device {
        Device::connect(self.device)
    }

    /// The ids of the processes that the script has started.
    pub(crate) fn processes(&self) -> Vec<String> {
        child_processes(self.child.id())
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
    }

    /// Waits for the exit of the script.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        wait_until("the cluster exits", || self.child.try_wait().unwrap())
    }
}

impl Drop for ClusterScript {
    fn drop(&mut self) {
        // SIGKILL would leave its child processes behind.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal("TERM");
            let _reaped = self.child.wait();
        }
    }
}
