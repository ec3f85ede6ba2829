//! Accepting device connections, whatever happens.

use std::{future::poll_fn, io, sync::Arc, time::Duration};

use socket2::{SockRef, TcpKeepalive};
use tokio::{
    net::{TcpListener, TcpStream},
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{DeviceOptions, connection, proxy::Balancers, refusals::Refusals};
use crate::{
    commands::Commands,
    domain::DisconnectReason,
    sessions::{Mailbox, Sessions},
};

/// Pauses after a failed accept: out of files or memory does not pass within microseconds.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Accepts devices until `stop`, then asks all connections to close and waits until they have.
pub async fn serve(
    listener: TcpListener,
    sessions: Arc<Sessions>,
    commands: Arc<Commands>,
    options: DeviceOptions,
    stop: CancellationToken,
) {
    let options = Arc::new(options);
    let connections = TaskTracker::new();
    let refusals = Refusals::default();
    let balancers = options
        .proxy_sources
        .clone()
        .map(|sources| Arc::new(Balancers::new(sources, options.login_timeout)));
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
                if balancers.as_ref().is_some_and(|known| !known.admit(remote)) {
                    continue;
                }
                if sessions.connections() >= options.max_connections {
                    if let Some(refused) = refusals.count() {
                        tracing::warn!(%remote, refused, max_connections = options.max_connections, reason = %DisconnectReason::OverCapacity, "device refused: device.max_connections are connected");
                    }
                    continue;
                }
                if let Err(error) = prepare(&stream) {
                    // Gone before it was looked at.
                    tracing::debug!(%remote, %error, "connection lost at once");
                    continue;
                }
                let mailbox = Arc::new(Mailbox::default());
                let guard = sessions.connect(Arc::clone(&mailbox));
                let (sessions, commands) = (Arc::clone(&sessions), Arc::clone(&commands));
                let options = Arc::clone(&options);
                let Some(balancers) = balancers.clone() else {
                    connections.spawn(connection::serve(
                        stream, remote, sessions, commands, options, mailbox, guard,
                    ));
                    continue;
                };
                let tasks = connections.clone();
                connections.spawn(async move {
                    let mut stream = stream;
                    let device = tokio::select! {
                        biased;
                        () = told_to_close(&mailbox) => {
                            tracing::debug!(%remote, "connection closed");
                            None
                        }
                        device = balancers.device_behind(remote, &mut stream) => device,
                    };
                    // A task of its own, so that none keeps the memory that the header took.
                    if let Some(device) = device {
                        tasks.spawn(connection::serve(
                            stream, device, sessions, commands, options, mailbox, guard,
                        ));
                    }
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
    sessions
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

/// Resolves once a connection that has no session, and so gets no orders, is to be closed.
async fn told_to_close(mailbox: &Mailbox) {
    poll_fn(|context| mailbox.poll(context).map(drop)).await;
}
