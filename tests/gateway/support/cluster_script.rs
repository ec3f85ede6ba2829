//! `scripts/cluster`, run as a user runs it.

use std::{
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
};

use super::{Device, PATIENCE, database_server::free_ports, install_tls_provider, wait_until};

/// A running cluster; stopped with SIGTERM when dropped.
pub(crate) struct ClusterScript {
    pub(crate) api: SocketAddr,
    device: SocketAddr,
    /// The folder with all its data.
    pub(crate) folder: PathBuf,
    child: Child,
    screen: Receiver<String>,
}

impl ClusterScript {
    /// Starts this many gateways and waits until both ports are open.
    #[track_caller]
    pub(crate) fn start(gateways: usize) -> Self {
        install_tls_provider();
        let [http, device] = free_ports();
        let mut child = Self::command(http, device)
            .arg(gateways.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (line, screen) = channel();
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for said in BufReader::new(output).lines().map_while(Result::ok) {
                // The test may have stopped reading.
                let _unread = line.send(said);
            }
        });
        let mut cluster = Self {
            folder: PathBuf::new(),
            api: SocketAddr::from(([127, 0, 0, 1], http)),
            device: SocketAddr::from(([127, 0, 0, 1], device)),
            child,
            screen,
        };
        let last = cluster.wait_for_line("Ctrl-C stops everything");
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

    /// Waits for a line of output that contains this text.
    #[track_caller]
    fn wait_for_line(&self, text: &str) -> String {
        let mut others = Vec::new();
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => others.push(line),
                Err(error) => panic!("never shown: {text} ({error})\n{others:#?}"),
            }
        }
    }

    /// A device that is connected through the balancer.
    pub(crate) fn connect(&self) -> Device {
        Device::connect(self.device)
    }

    /// The ids of the processes that the script has started.
    pub(crate) fn processes(&self) -> Vec<String> {
        let pid = self.child.id().to_string();
        let output = Command::new("pgrep").args(["-P", &pid]).output().unwrap();
        let pids = String::from_utf8(output.stdout).unwrap();
        pids.lines().map(str::to_owned).collect()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
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
