//! Accepts device connections.

use std::{future::poll_fn, io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};
use tokio_rustls::server::TlsStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    DeviceOptions, LOG_INTERVAL, connection,
    proxy::{Balancers, canonical},
};
use crate::{
    backoff::Backoff,
    commands::Commands,
    domain::DisconnectReason,
    log_throttle::LogThrottle,
    sessions::{ConnectionGuard, ConnectionHandle, Sessions},
    tls::{HandshakeFailure, Opening, TlsServer},
};

/// The pauses after a failed accept: it lacks file descriptors or memory, and would lack them again at once.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));

/// The longest time for a handshake. It is a few round trips, each a second or two on the slowest mobile networks.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

static REFUSALS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |refused| {
    tracing::warn!(refused, "device refused: device.max_connections is reached");
});

static FAILED_ACCEPTS: LogThrottle = LogThrottle::every(LOG_INTERVAL, |times| {
    tracing::warn!(times, "cannot accept devices; trying again");
});

/// The listeners that devices connect to.
pub(crate) struct DevicePorts {
    pub(crate) plain: TcpListener,
    /// The one inside TLS.
    pub(crate) encrypted: Option<(TcpListener, Arc<TlsServer>)>,
}

/// Accepts devices until `stop` is cancelled, then asks all connections to close and waits until they have.
pub(crate) async fn serve(
    ports: DevicePorts,
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: DeviceOptions,
    stop: CancellationToken,
) {
    let options = Arc::new(options);
    let acceptor = Acceptor {
        balancers: options
            .proxy_sources
            .clone()
            .map(|sources| Arc::new(Balancers::new(sources, options.login_timeout))),
        sessions,
        commands,
        options,
        connections: TaskTracker::new(),
        stop,
    };
    let encrypted = async {
        if let Some((listener, tls)) = ports.encrypted {
            acceptor.accept_encrypted(listener, &tls).await;
        }
    };
    tokio::join!(acceptor.accept_plain(ports.plain), encrypted);
    let Acceptor {
        sessions,
        options,
        connections,
        ..
    } = acceptor;
    sessions
        .release_connections(DisconnectReason::Shutdown, options.release_time)
        .await;
    connections.close();
    connections.wait().await;
}

/// Accepts devices, on all ports together as many as `device.max_connections`.
struct Acceptor {
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: Arc<DeviceOptions>,
    balancers: Option<Arc<Balancers>>,
    connections: TaskTracker,
    stop: CancellationToken,
}

/// An accepted connection. It counts among the connections of this instance.
struct Accepted<S> {
    stream: S,
    remote: SocketAddr,
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: Arc<DeviceOptions>,
    balancers: Option<Arc<Balancers>>,
    handle: Arc<ConnectionHandle>,
    guard: ConnectionGuard,
}

impl Acceptor {
    async fn accept_plain(&self, listener: TcpListener) {
        while let Some(accepted) = self.accept(&listener).await {
            if accepted.balancers.is_none() {
                self.connections.spawn(accepted.serve());
                continue;
            }
            let connections = self.connections.clone();
            self.connections.spawn(async move {
                let (handle, remote) = (Arc::clone(&accepted.handle), accepted.remote);
                let accepted = unless_closed(&handle, remote, accepted.behind_balancer());
                // A new task, so that the connection does not keep the memory of this one.
                if let Some(accepted) = accepted.await {
                    connections.spawn(accepted.serve());
                }
            });
        }
    }

    /// Like [`Self::accept_plain`], inside TLS. While half of all connections shake hands, no more are accepted: slow
    /// handshakes must not keep other devices out.
    async fn accept_encrypted(&self, listener: TcpListener, tls: &Arc<TlsServer>) {
        let handshakes = Arc::new(Semaphore::new((self.options.max_connections / 2).max(1)));
        loop {
            let place = Arc::clone(&handshakes).acquire_owned();
            let Some(Ok(place)) = self.stop.run_until_cancelled(place).await else {
                break;
            };
            let Some(accepted) = self.accept(&listener).await else {
                break;
            };
            let (tls, connections) = (Arc::clone(tls), self.connections.clone());
            self.connections.spawn(async move {
                let (handle, remote) = (Arc::clone(&accepted.handle), accepted.remote);
                let encrypting = async { accepted.behind_balancer().await?.encrypt(&tls).await };
                let encrypted = unless_closed(&handle, remote, encrypting).await;
                drop(place);
                if let Some(encrypted) = encrypted {
                    connections.spawn(encrypted.serve());
                }
            });
        }
    }

    /// The next connection that is admitted; `None` once `stop` is cancelled.
    async fn accept(&self, listener: &TcpListener) -> Option<Accepted<TcpStream>> {
        let mut backoff = BACKOFF;
        loop {
            let accepted = tokio::select! {
                biased;
                () = self.stop.cancelled() => return None,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, remote)) => {
                    backoff.reset();
                    if let Some(accepted) = self.admit(stream, canonical(remote)) {
                        return Some(accepted);
                    }
                }
                Err(error) if is_caused_by_peer(&error) => {
                    tracing::debug!(%error, "connection aborted before it was accepted");
                }
                Err(error) => {
                    let pause = backoff.next_pause();
                    if let Some(times) = FAILED_ACCEPTS.admit() {
                        tracing::warn!(%error, times, "cannot accept devices; trying again");
                    }
                    sleep(pause).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, remote: SocketAddr) -> Option<Accepted<TcpStream>> {
        let Self {
            options, balancers, ..
        } = self;
        if balancers.as_ref().is_some_and(|known| !known.admit(remote)) {
            return None;
        }
        if self.sessions.connections() >= options.max_connections {
            if let Some(refused) = REFUSALS.admit() {
                tracing::warn!(%remote, refused, max_connections = options.max_connections, reason = %DisconnectReason::OverCapacity, "device refused: device.max_connections is reached");
            }
            return None;
        }
        if let Err(error) = configure(&stream) {
            // The device has disconnected already.
            tracing::debug!(%remote, %error, "connection lost before it was served");
            return None;
        }
        let handle = Arc::new(ConnectionHandle::default());
        let guard = self.sessions.connect(Arc::clone(&handle));
        Some(Accepted {
            stream,
            remote,
            sessions: Arc::clone(&self.sessions),
            commands: Arc::clone(&self.commands),
            options: Arc::clone(options),
            balancers: balancers.clone(),
            handle,
            guard,
        })
    }
}

impl Accepted<TcpStream> {
    /// Reads the header of the balancer, if there is one in front.
    async fn behind_balancer(mut self) -> Option<Self> {
        if let Some(balancers) = &self.balancers {
            let device = balancers.device_behind(self.remote, &mut self.stream).await;
            self.remote = device?;
        }
        Some(self)
    }

    /// Shakes hands. A client that does not begin to is closed at once.
    async fn encrypt(self, tls: &TlsServer) -> Option<Accepted<TlsStream<TcpStream>>> {
        let remote = self.remote;
        let deadline = Instant::now() + HANDSHAKE_TIMEOUT.min(self.options.login_timeout);
        match timeout_at(deadline, Opening::of(&self.stream)).await {
            Ok(Opening::Tls) => {}
            Ok(Opening::PlainText) => {
                tls.note_failure(remote, HandshakeFailure::PlainText, None);
                return None;
            }
            // Health checks of balancers connect and close.
            Ok(Opening::Nothing) => {
                tracing::debug!(%remote, "connection closed before TLS");
                return None;
            }
            Err(_elapsed) => {
                tls.note_failure(remote, HandshakeFailure::Timeout, None);
                return None;
            }
        }
        Some(Accepted {
            stream: tls.handshake(self.stream, remote, deadline).await?,
            remote,
            sessions: self.sessions,
            commands: self.commands,
            options: self.options,
            balancers: self.balancers,
            handle: self.handle,
            guard: self.guard,
        })
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Accepted<S> {
    fn serve(self) -> impl Future<Output = ()> {
        connection::serve(
            self.stream,
            self.remote,
            self.sessions,
            self.commands,
            self.options,
            self.handle,
            self.guard,
        )
    }
}

/// Does `work` for a connection; `None` if the connection is asked to close meanwhile.
async fn unless_closed<T>(
    handle: &ConnectionHandle,
    remote: SocketAddr,
    work: impl Future<Output = Option<T>>,
) -> Option<T> {
    tokio::select! {
        biased;
        () = close_requested(handle) => {
            tracing::debug!(%remote, "connection closed");
            None
        }
        done = work => done,
    }
}

fn is_caused_by_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Sets `TCP_NODELAY`, so that small replies leave at once, and keep-alive, so that a vanished peer is noticed while
/// the connection is idle.
fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_mins(1))
            .with_interval(Duration::from_secs(15)),
    )
}

/// Resolves once the connection is to be closed. A connection without a session gets no other event than `Close`.
async fn close_requested(handle: &ConnectionHandle) {
    poll_fn(|context| handle.poll(context).map(drop)).await;
}
