//! Connections: accepted up to a cap, cut off when they are slow to ask, finished when we stop.
//!
//! axum's own `serve` arms no timer for request headers and has no cap, so that a few slow clients
//! could hold every descriptor for ever.

use std::{io, sync::Arc, time::Duration};

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{HttpOptions, write_deadline::WriteDeadline};

/// A request's headers and the buffer they are read into; hyper answers 431 beyond.
const MAX_BUFFER: usize = 64 << 10;
/// The pause after `accept` failed for want of descriptors or memory: until then others may close.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`; then takes no more connections, closes idle ones, and gives requests on
/// their way `grace` to finish. Returns when all connections are closed.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    options: HttpOptions,
    shutdown: CancellationToken,
    grace: Duration,
) {
    let connections = TaskTracker::new();
    let overdue = CancellationToken::new();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    while let Some((stream, slot)) = accept(&listener, &slots, &shutdown).await {
        let connection = Connection {
            router: router.clone(),
            options,
            shutdown: shutdown.clone(),
            overdue: overdue.clone(),
            _slot: slot,
        };
        connections.spawn(connection.run(stream));
    }
    drop(listener);
    connections.close();
    if tokio::time::timeout(grace, connections.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = connections.len(),
            "HTTP requests did not finish within the grace period and are cut off"
        );
        overdue.cancel();
        connections.wait().await;
    }
}

/// The next connection, once there is a slot for it; `None` on shutdown.
async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        let slot = Arc::clone(slots).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, slot)),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(error = %error, "cannot accept HTTP connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(next).await.flatten()
}

/// Whether it was only the peer that went away between its SYN and our accept.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
    )
}

struct Connection {
    router: Router,
    options: HttpOptions,
    shutdown: CancellationToken,
    overdue: CancellationToken,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    async fn run(self, stream: TcpStream) {
        // Fails only for a peer that is gone already, which the first read will tell.
        let _ = stream.set_nodelay(true);
        let stream = WriteDeadline::new(stream, self.options.request_timeout);
        let serving = http1::Builder::new()
            // Without a timer the time-out below would do nothing.
            .timer(TokioTimer::new())
            // Runs from the moment a request may begin: it ends idle keep-alive connections too.
            .header_read_timeout(self.options.header_timeout)
            .keep_alive(true)
            .max_buf_size(MAX_BUFFER)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(self.router));
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
            tracing::debug!(error = %error, "an HTTP connection broke off");
        }
    }
}
