//! A real balancer in front of a daemon's device port: the program `haproxy`.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use super::{Daemon, Device, server::free_port, wait_until};

/// A running balancer; killed when dropped.
pub(crate) struct Balancer {
    address: SocketAddr,
    child: Child,
    _folder: TempDir,
}

impl Balancer {
    /// Passes connections on to the daemon and looks after its health, with this option for both.
    pub(crate) fn start(daemon: &Daemon, option: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("haproxy.cfg");
        let log = folder.path().join("log");
        // Somebody else may take the port before the balancer does; then it ends, and another is tried.
        for _ in 0..5 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let settings = format!(
                "defaults\n mode tcp\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
                 listen devices\n bind {address}\n server gateway {} {option} check inter 100ms\n",
                daemon.device
            );
            fs::write(&file, settings).unwrap();
            let log = fs::File::create(&log).unwrap();
            let mut child = Command::new("haproxy")
                .args(["-db", "-f"])
                .arg(&file)
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap_or_else(|error| {
                    panic!("haproxy: {error}; run the tests by ./scripts/test")
                });
            let up = wait_until("the balancer listens", || {
                if child.try_wait().unwrap().is_some() {
                    return Some(false);
                }
                TcpStream::connect(address).is_ok().then_some(true)
            });
            if up {
                return Self {
                    address,
                    child,
                    _folder: folder,
                };
            }
        }
        panic!(
            "the balancer does not start: {}",
            fs::read_to_string(log).unwrap_or_default()
        );
    }

    /// A device that has connected through it.
    pub(crate) fn connect(&self) -> Device {
        Device::connect(self.address)
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
