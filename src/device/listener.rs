//! Accepts device connections.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    DeviceOptions, REFUSAL_LOG_INTERVAL, connection,
    proxy::{Balancers, canonical},
};
use crate::{
    backoff::Backoff,
    commands::Commands,
    domain::DisconnectReason,
    log_throttle::LogThrottle,
    sessions::{ConnectionHandle, Sessions},
};

/// The pauses after a failed accept: it lacks file descriptors or memory, and would lack them again at once.
const BACKOFF: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_secs(1));

/// Accepts devices until `stop` is cancelled, then asks all connections to close and waits until they have.
pub(crate) async fn serve(
    listener: TcpListener,
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: DeviceOptions,
    stop: CancellationToken,
) {
    let options = Arc::new(options);
    let connections = TaskTracker::new();
    let refusals = LogThrottle::every(REFUSAL_LOG_INTERVAL);
    let balancers = options
        .proxy_sources
        .clone()
        .map(|sources| Arc::new(Balancers::new(sources, options.login_timeout)));
    let mut backoff = BACKOFF;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                backoff.reset();
                let remote = canonical(remote);
                if balancers.as_ref().is_some_and(|known| !known.admit(remote)) {
                    continue;
                }
                if sessions.connections() >= options.max_connections {
                    if let Some(refused) = refusals.admit() {
                        tracing::warn!(%remote, refused, max_connections = options.max_connections, reason = %DisconnectReason::OverCapacity, "device refused: device.max_connections is reached");
                    }
                    continue;
                }
                if let Err(error) = configure(&stream) {
                    // The device has disconnected already.
                    tracing::debug!(%remote, %error, "connection lost before it was served");
                    continue;
                }
                let handle = Arc::new(ConnectionHandle::default());
                let guard = sessions.connect(Arc::clone(&handle));
                let (sessions, commands) = (Arc::clone(&sessions), Arc::clone(&commands));
                let options = Arc::clone(&options);
                let Some(balancers) = balancers.clone() else {
                    connections.spawn(connection::serve(
                        stream, remote, sessions, commands, options, handle, guard,
                    ));
                    continue;
                };
                let tasks = connections.clone();
                connections.spawn(async move {
                    let mut stream = stream;
                    let device = tokio::select! {
                        biased;
                        () = close_requested(&handle) => {
                            tracing::debug!(%remote, "connection closed");
                            None
                        }
                        device = balancers.device_behind(remote, &mut stream) => device,
                    };
                    // A new task, so that the connection does not keep the memory of this one.
                    if let Some(device) = device {
                        tasks.spawn(connection::serve(
                            stream, device, sessions, commands, options, handle, guard,
                        ));
                    }
                });
            }
            Err(error) if is_caused_by_peer(&error) => {
                tracing::debug!(%error, "connection aborted before it was accepted");
            }
            Err(error) => {
                let pause = backoff.next_pause();
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept devices; trying again");
                sleep(pause).await;
            }
        }
    }
    drop(listener);
    sessions
        .release_connections(DisconnectReason::Shutdown, options.release_time)
        .await;
    connections.close();
    connections.wait().await;
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
