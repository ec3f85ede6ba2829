//! HTTP connections: accepted up to a limit, and a few more for health checks; with or without TLS; closed when the client
//! is too slow, finished on shutdown.
//!
//! This is not axum's `serve` because that has neither a timeout for request headers nor a limit of connections: a few
//! slow clients could hold every file descriptor for ever.

mod exchange;
mod host;
mod lingering;
mod paced;
mod slots;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, extract::ConnectInfo, http::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    time::{Instant, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    exchange::Admission,
    lingering::{Incomplete, LingerLimits, LingeringStream},
    paced::{PaceLimits, PacedStream},
    slots::{Slot, Slots},
};
use super::{failure_log, options::HttpOptions};
use crate::tls::{HandshakeFailure, Opening, TlsServer};
pub(crate) use slots::RESERVED_CONNECTIONS;

/// The size of the read buffer, in bytes, and the limit of a request's headers: hyper answers 431 beyond.
const MAX_BUFFER: usize = 64 << 10;
/// The pause after `accept` failed for want of file descriptors or memory, in which other connections may close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The send buffer of each connection, in bytes; the system takes twice that. Without a limit it grows to some MiB for
/// clients that do not read, and a slow client's progress is seen rarely.
const SEND_BUFFER: usize = 128 << 10;
/// The least throughput of a client that reads a response, in bytes per second.
const LEAST_THROUGHPUT: u32 = 16 << 10;
/// The longest time for a client to read a response. 16 MiB, the largest of all, need 56 KiB/s then.
const LONGEST_READ: Duration = Duration::from_mins(5);
/// The most bytes that are discarded after an early response: twice the largest `http.max_body`.
const LINGER_BYTES: usize = 32 << 20;
/// The longest time after an early response in which the client sends nothing.
const LINGER_IDLE: Duration = Duration::from_secs(2);
/// The longest time for a request's head, for its body, and for the client to take the response, on a connection that is
/// reserved for health checks: slow clients must not hold those for long.
const RESERVED_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves until `shutdown`. Then it accepts no more connections, closes idle ones, and gives running requests `grace`
/// to finish. Returns when all connections are closed. With `tls` only HTTPS is spoken.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Arc<TlsServer>>,
    router: Router,
    options: HttpOptions,
    shutdown: CancellationToken,
    grace: Duration,
) {
    // Connections inherit it.
    if let Err(error) = SockRef::from(&listener).set_send_buffer_size(SEND_BUFFER) {
        tracing::warn!(%error, "cannot limit the send buffers of HTTP connections");
    }
    let connections = TaskTracker::new();
    let overdue = CancellationToken::new();
    let slots = Slots::new(options.max_connections);
    while let Some((stream, slot)) = accept(&listener, &slots, &shutdown).await {
        let connection = HttpConnection {
            router: router.clone(),
            options: if slot.is_reserved {
                reserved(options)
            } else {
                options
            },
            shutdown: shutdown.clone(),
            overdue: overdue.clone(),
            slot,
        };
        match tls.clone() {
            None => connections.spawn(connection.run(stream)),
            Some(tls) => connections.spawn(connection.run_encrypted(stream, tls)),
        };
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "HTTP requests exceeded the grace period and are aborted"
        );
        overdue.cancel();
        connections.wait().await;
    }
}

/// The limits of a reserved connection.
fn reserved(options: HttpOptions) -> HttpOptions {
    HttpOptions {
        header_timeout: options.header_timeout.min(RESERVED_TIMEOUT),
        // Half of it is for the body.
        request_timeout: options.request_timeout.min(2 * RESERVED_TIMEOUT),
        ..options
    }
}

/// Waits for a free slot and then for a connection; `None` on shutdown.
async fn accept(
    listener: &TcpListener,
    slots: &Slots,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, Slot)> {
    let next = async {
        let slot = slots.take().await?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, slots.exchange(slot))),
                Err(error) if is_connection_error(&error) => {}
                Err(error) => {
                    failure_log::accept_failed(&error);
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(next).await.flatten()
}

/// Whether `accept` failed only because the peer had closed the connection already.
fn is_connection_error(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

struct HttpConnection {
    router: Router,
    options: HttpOptions,
    shutdown: CancellationToken,
    overdue: CancellationToken,
    slot: Slot,
}

impl HttpConnection {
    async fn run(self, stream: TcpStream) {
        if let Some(peer) = configure(&stream) {
            let stream = self.paced(stream);
            let admission = self.admission();
            self.serve(stream, peer, admission).await;
        }
    }

    /// Like [`Self::run`], inside TLS. The handshake has as much time as the head of a request. A client that speaks HTTP
    /// without TLS is told so.
    async fn run_encrypted(self, stream: TcpStream, tls: Arc<TlsServer>) {
        let Some(peer) = configure(&stream) else {
            return;
        };
        let deadline = Instant::now() + self.options.header_timeout;
        let opening = timeout_at(deadline, Opening::of(&stream));
        let stopped = self.shutdown.clone();
        let Some(opening) = stopped.run_until_cancelled(opening).await else {
            return;
        };
        match opening {
            Ok(Opening::Tls) => {
                // Below TLS, so that the handshake and the farewell are paced, too.
                let stream = self.paced(stream);
                let handshake = tls.handshake(stream, peer, deadline);
                if let Some(Some(stream)) = stopped.run_until_cancelled(handshake).await {
                    let admission = self.admission();
                    self.serve(stream, peer, admission).await;
                }
            }
            Ok(Opening::PlainText) => {
                tls.note_failure(peer, HandshakeFailure::PlainText, None);
                let stream = self.paced(stream);
                self.serve(stream, peer, Admission::Nothing).await;
            }
            Ok(Opening::Nothing) => tracing::debug!(remote = %peer, "connection closed before TLS"),
            Err(_elapsed) => tls.note_failure(peer, HandshakeFailure::Timeout, None),
        }
    }

    fn admission(&self) -> Admission {
        if self.slot.is_reserved {
            Admission::HealthChecks
        } else {
            Admission::All
        }
    }

    /// hyper itself would wait for ever for a client that does not read its response.
    fn paced(&self, stream: TcpStream) -> PacedStream<TcpStream> {
        PacedStream::new(
            stream,
            PaceLimits {
                stall: self.options.request_timeout,
                throughput: LEAST_THROUGHPUT,
                total: LONGEST_READ,
            },
        )
    }

    async fn serve<S>(self, stream: S, peer: SocketAddr, admission: Admission)
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let incomplete = Incomplete::default();
        let stream = LingeringStream::new(
            stream,
            incomplete.clone(),
            LingerLimits {
                bytes: LINGER_BYTES,
                idle: LINGER_IDLE.min(self.options.header_timeout),
                total: self.options.body_timeout(),
            },
        );
        let router = self.router;
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(ConnectInfo(peer));
            exchange::exchange(router.clone(), admission, request, incomplete.clone())
        });
        let serving = http1::Builder::new()
            // Required by the timeout below.
            .timer(TokioTimer::new())
            // Also closes idle keep-alive connections: it starts as soon as a request may begin.
            .header_read_timeout(self.options.header_timeout)
            .keep_alive(admission == Admission::All)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        let outcome = tokio::select! {
            outcome = &mut serving => outcome,
            () = self.shutdown.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = serving => outcome,
                    () = self.overdue.cancelled() => Ok(()),
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(error = %error, "HTTP connection failed");
        }
    }
}

/// Has small responses sent at once. Returns the address of the peer; `None` if it has closed the connection.
fn configure(stream: &TcpStream) -> Option<SocketAddr> {
    stream.set_nodelay(true).ok()?;
    stream.peer_addr().ok()
}
