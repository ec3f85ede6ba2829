//! Accepting device connections, whatever happens.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{DeviceOptions, connection};
use crate::{
    domain::DisconnectReason,
    service::{Mailbox, Service},
};

/// Pauses after a failed accept: out of files or memory does not pass within microseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// Refusals are logged once in this time, with their number.
const REFUSAL_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Accepts devices until `stop`, then asks all connections to close and waits until they have.
pub async fn serve(
    listener: TcpListener,
    service: Arc<Service>,
    options: DeviceOptions,
    stop: CancellationToken,
) {
    let options = Arc::new(options);
    let connections = TaskTracker::new();
    let mut refusals = Refusals::default();
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                pause = FIRST_PAUSE;
                if service.connections() >= options.max_connections {
                    refusals.count(remote, options.max_connections);
                    continue;
                }
                if let Err(error) = prepare(&stream) {
                    // Gone before it was looked at.
                    tracing::debug!(%remote, %error, "connection lost at once");
                    continue;
                }
                let mailbox = Arc::new(Mailbox::default());
                let guard = service.connect(Arc::clone(&mailbox));
                let (service, options) = (Arc::clone(&service), Arc::clone(&options));
                connections.spawn(async move {
                    connection::serve(stream, remote, service, options, mailbox, guard).await;
                });
            }
            Err(error) if is_of_the_peer(&error) => tracing::debug!(%error, "accept"),
            Err(error) => {
                tracing::warn!(%error, pause_ms = pause.as_millis(), "cannot accept devices; trying again");
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
    drop(listener);
    service
        .release_connections(DisconnectReason::Shutdown, options.release_time)
        .await;
    connections.close();
    connections.wait().await;
}

fn is_of_the_peer(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

/// Small answers leave at once; a peer that vanished is noticed even while nothing is said.
fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    SockRef::from(stream).set_tcp_keepalive(
        &TcpKeepalive::new()
            .with_time(Duration::from_mins(1))
            .with_interval(Duration::from_secs(15)),
    )
}

/// Connections refused for want of capacity, logged as a number now and then.
#[derive(Debug, Default)]
struct Refusals {
    since_log: u64,
    logged: Option<Instant>,
}

impl Refusals {
    fn count(&mut self, remote: SocketAddr, max_connections: usize) {
        self.since_log += 1;
        if self
            .logged
            .is_none_or(|logged| logged.elapsed() >= REFUSAL_LOG_INTERVAL)
        {
            let refused = self.since_log;
            tracing::warn!(%remote, refused, max_connections, reason = %DisconnectReason::OverCapacity, "device refused: device.max_connections are connected");
            self.since_log = 0;
            self.logged = Some(Instant::now());
        }
    }
}
