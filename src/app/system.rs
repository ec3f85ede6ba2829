//! Ports and open files, from the operating system.

use std::net::SocketAddr;

use tokio::net::{TcpListener, TcpSocket};

use super::error::{ListenError, ListenErrors, StartError};
use crate::{config::Settings, http::RESERVED_CONNECTIONS};

/// The default of `device.max_connections`, if the limit of open files allows it.
const DEVICES: usize = 18_000;
/// Files that the process has open beside its device and HTTP connections: database, Redis, log, listeners.
const OTHER_FILES: u64 = 128;
/// Connections that the operating system completes before they are accepted.
const BACKLOG: u32 = 16_384;

/// A port that this process has, and that refuses connections until it listens.
pub(super) struct BoundPort {
    key: &'static str,
    address: SocketAddr,
    socket: TcpSocket,
}

/// The ports that the settings name.
pub(super) struct BoundPorts {
    pub(super) device: BoundPort,
    pub(super) device_tls: Option<BoundPort>,
    pub(super) http: BoundPort,
}

/// Takes all ports, before anything is created or changed. A second gateway with the same ports ends here if the first one
/// listens already; else one of them fails in [`BoundPort::listen`].
pub(super) fn bind(settings: &Settings) -> Result<BoundPorts, StartError> {
    let device = BoundPort::bind("device.listen", settings.device.listen);
    let bind_tls = |address| BoundPort::bind("device.tls.listen", address);
    let device_tls = settings.device.tls.listen.map(bind_tls).transpose();
    let http = BoundPort::bind("http.listen", settings.http.listen);
    match (device, device_tls, http) {
        (Ok(device), Ok(device_tls), Ok(http)) => Ok(BoundPorts {
            device,
            device_tls,
            http,
        }),
        (device, device_tls, http) => {
            let failed = [device.err(), device_tls.err(), http.err()];
            let failed = failed.into_iter().flatten().collect();
            Err(StartError::Listen(ListenErrors(failed)))
        }
    }
}

impl BoundPort {
    fn bind(key: &'static str, address: SocketAddr) -> Result<Self, ListenError> {
        let bind = || {
            let socket = if address.is_ipv4() {
                TcpSocket::new_v4()?
            } else {
                TcpSocket::new_v6()?
            };
            // The port of a process that has just ended can be taken again at once.
            socket.set_reuseaddr(true)?;
            socket.bind(address)?;
            Ok(socket)
        };
        let bound = bind().map(|socket| Self {
            key,
            address,
            socket,
        });
        bound.map_err(|source| ListenError {
            key,
            address,
            source,
        })
    }

    /// Accepts connections from now on.
    pub(super) fn listen(self) -> Result<TcpListener, StartError> {
        let Self {
            key,
            address,
            socket,
        } = self;
        // Two sockets may have one port as long as neither listens.
        socket.listen(BACKLOG).map_err(|source| {
            StartError::Listen(ListenErrors(vec![ListenError {
                key,
                address,
                source,
            }]))
        })
    }
}

/// The address that a listener has, also if port 0 is configured.
pub(super) fn local(listener: &TcpListener, configured: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(configured)
}

/// Raises the soft limit of open files to the hard one, and returns how many devices may connect.
pub(super) fn raise_open_files(settings: &Settings) -> Result<usize, StartError> {
    let wanted = settings.device.max_connections;
    let http = settings.http.max_connections;
    let other = OTHER_FILES + (http + RESERVED_CONNECTIONS) as u64;
    let allowed = rlimit::increase_nofile_limit(u64::MAX).unwrap_or_else(|error| {
        tracing::warn!(%error, "cannot raise the limit of open files");
        u64::MAX
    });
    let possible = allowed.saturating_sub(other);
    if wanted.max(1) as u64 > possible {
        return Err(StartError::OpenFiles {
            wanted,
            http,
            needed: wanted.max(1) as u64 + other,
            allowed,
        });
    }
    if wanted > 0 {
        return Ok(wanted);
    }
    let most = usize::try_from(possible).unwrap_or(usize::MAX);
    if most < DEVICES {
        tracing::warn!(
            max_connections = most,
            "fewer devices than usual may connect: this process may open {allowed} files (ulimit -n)"
        );
    }
    Ok(most.min(DEVICES))
}
