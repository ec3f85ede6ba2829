//! Ports for servers, reserved for one test.

use std::{fs, net::TcpListener, ops::Range, sync::Mutex};

use super::database_server::user;

pub(super) fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

/// The ports that tests give to servers. They are outside the range that the system gives to outgoing connections, so that
/// a server which is restarted finds its port free, and outside that of `scripts/cluster`, which reserves nothing.
pub(crate) const TEST_PORTS: Range<u16> = 10_000..25_000;

/// Distinct free ports, reserved for this test until its process ends, as it may take a while until they are bound. Tests
/// of other checkouts see the reservation, too.
pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    /// Locks on one file for each reserved port.
    static RESERVED: Mutex<Vec<fs::File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join(format!("vehicle-gateway-ports-{}", user()));
    fs::create_dir_all(&folder).unwrap();
    [(); N].map(|()| {
        loop {
            let port = fastrand::u16(TEST_PORTS);
            let lock = fs::File::create(folder.join(port.to_string())).unwrap();
            if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                RESERVED.lock().unwrap().push(lock);
                return port;
            }
        }
    })
}
