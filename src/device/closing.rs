//! Closing a connection: the socket, without losing the last reply, and the session in the store.

use std::{
    future::poll_fn, mem::MaybeUninit, net::SocketAddr, pin::Pin, sync::Arc, task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::{
    connection::{DeviceConnection, PendingLogin},
    outage_log::{self, LoginLine},
};
use crate::{
    domain::{DisconnectReason, SessionKey},
    sessions::{ConnectionHandle, LoggedIn, LoginError, PendingWrite, Session, Sessions, Written},
};

/// The longest wait for the socket to shut down, and then for the peer to close its side.
const LINGER: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceConnection<S> {
    /// Removes the session from this instance, shuts the socket down and submits the end of the session to the store.
    /// Returns what is left to do without the connection.
    pub(super) async fn close(&mut self, reason: DisconnectReason) -> Cleanup {
        let session = self.session.take();
        if let Some(session) = &session {
            self.sessions.leave(session);
        }
        let shut = shut_down(&mut self.stream).await;
        let end = session.map(|session| {
            let pending_write = self.sessions.begin_end(&session, reason);
            (session, pending_write)
        });
        if shut && sends_last_reply(reason) {
            linger(&mut self.stream).await;
        }
        Cleanup {
            remote: self.remote,
            sessions: Arc::clone(&self.sessions),
            handle: Arc::clone(&self.handle),
            login_line: match self.login {
                Some(_) => LoginLine::Counted,
                None => self.login_line,
            },
            login: self.login.take(),
            end,
        }
    }
}

/// The work that is left once a connection is closed.
pub(super) struct Cleanup {
    remote: SocketAddr,
    sessions: Arc<Sessions>,
    handle: Arc<ConnectionHandle>,
    login_line: LoginLine,
    login: Option<PendingLogin>,
    end: Option<(Arc<Session>, PendingWrite<Written>)>,
}

impl Cleanup {
    /// Ends the session in the store, also that of a login which is stored only now.
    pub(super) async fn run(self, reason: DisconnectReason) {
        let mut end = self.end;
        // A login that is still pending may yet be stored: then its session is ended right after.
        if let Some(PendingLogin {
            pending_write,
            device_id,
            ..
        }) = self.login
        {
            let stored = pending_write.await;
            let login = self
                .sessions
                .finish_login(device_id.clone(), stored, self.handle);
            if let Err(LoginError::Store(error)) = &login {
                outage_log::login_not_stored(&device_id, error);
            }
            end = login.ok().map(|LoggedIn { session, .. }| {
                let pending_write = self.sessions.begin_end(&session, reason);
                (session, pending_write)
            });
        }
        let remote = self.remote;
        let Some((session, pending_write)) = end else {
            tracing::debug!(%remote, %reason, "connection closed");
            return;
        };
        let is_counted = self.login_line == LoginLine::Counted;
        if is_counted || is_by_outage(reason) || !self.sessions.are_stored() {
            outage_log::disconnected(&session.key, remote, reason);
        } else {
            let SessionKey { device_id, epoch } = &session.key;
            tracing::info!(%device_id, epoch, %remote, %reason, "vehicle disconnected");
        }
        self.sessions
            .finish_end(&session, reason, pending_write)
            .await;
    }
}

/// Whether sessions end together for this reason, because of the gateway or its database.
fn is_by_outage(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::StoreUnavailable | DisconnectReason::InstanceLost
    )
}

/// Whether the gateway sends a sentence before it closes for this reason.
fn sends_last_reply(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::Goodbye
            | DisconnectReason::ConnectionClosed
            | DisconnectReason::TooManyBadSentences
            | DisconnectReason::TooLarge
            | DisconnectReason::Shutdown
    )
}

/// Closes the sending direction. Returns whether that succeeded: it fails if the connection is broken already.
async fn shut_down(stream: &mut (impl AsyncWrite + Unpin)) -> bool {
    let shut = poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context));
    matches!(timeout(LINGER, shut).await, Ok(Ok(())))
}

/// Reads and drops what the peer still sends, for at most [`LINGER`]: closing a socket with unread bytes resets the
/// connection, and the peer could lose the last reply.
async fn linger(stream: &mut (impl AsyncRead + Unpin)) {
    let until_closed = poll_fn(|context| {
        loop {
            let mut memory = [const { MaybeUninit::<u8>::uninit() }; 4 << 10];
            let mut buffer = ReadBuf::uninit(&mut memory);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    if timeout(LINGER, until_closed).await.is_err() {
        tracing::trace!("device did not close its side");
    }
}
