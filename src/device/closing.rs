//! Closing a connection: the socket so that the last words arrive, the session so that the store
//! knows.

use std::{
    future::poll_fn, mem::MaybeUninit, net::SocketAddr, pin::Pin, sync::Arc, task::Poll,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::timeout,
};

use super::connection::{Connection, PendingLogin};
use crate::{
    domain::{DisconnectReason, SessionKey},
    sessions::{LoggedIn, Mailbox, PendingWrite, Session, Sessions, Written},
};

/// How long closing waits for the other side.
const LINGER: Duration = Duration::from_secs(1);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Removes the session here, shuts the socket, sends the end of the session to the store; what
    /// must outlive the connection is returned.
    pub(super) async fn part(&mut self, reason: DisconnectReason) -> Rest {
        let session = self.session.take();
        if let Some(session) = &session {
            self.sessions.leave(session);
        }
        let shut = shut(&mut self.stream).await;
        let end = session.map(|session| {
            let ticket = self.sessions.begin_end(&session, reason);
            (session, ticket)
        });
        if shut && has_last_words(reason) {
            linger(&mut self.stream).await;
        }
        Rest {
            remote: self.remote,
            sessions: Arc::clone(&self.sessions),
            mailbox: Arc::clone(&self.mailbox),
            login: self.login.take(),
            end,
        }
    }
}

/// What is left to do once a connection is closed.
pub(super) struct Rest {
    remote: SocketAddr,
    sessions: Arc<Sessions>,
    mailbox: Arc<Mailbox>,
    login: Option<PendingLogin>,
    end: Option<(Arc<Session>, PendingWrite<Written>)>,
}

impl Rest {
    /// Sees to it that no session is left in the store.
    pub(super) async fn clean_up(self, reason: DisconnectReason) {
        let mut end = self.end;
        // A login that is still on its way may yet be stored; then it is ended right after.
        if let Some(PendingLogin {
            ticket, device_id, ..
        }) = self.login
        {
            let stored = ticket.await;
            let login = self.sessions.finish_login(device_id, stored, self.mailbox);
            end = login.ok().map(|LoggedIn { session, .. }| {
                let ticket = self.sessions.begin_end(&session, reason);
                (session, ticket)
            });
        }
        let remote = self.remote;
        let Some((session, ticket)) = end else {
            tracing::debug!(%remote, %reason, "connection closed");
            return;
        };
        let SessionKey { device_id, epoch } = &session.key;
        tracing::info!(%device_id, epoch, %remote, %reason, "vehicle disconnected");
        self.sessions.finish_end(&session, reason, ticket).await;
    }
}

/// Whether the gateway said something before it closed for this reason.
fn has_last_words(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::Goodbye
            | DisconnectReason::ConnectionClosed
            | DisconnectReason::TooManyBadSentences
            | DisconnectReason::TooLarge
            | DisconnectReason::Shutdown
    )
}

/// Tells the other side that nothing more comes; false if it is gone.
async fn shut(stream: &mut (impl AsyncWrite + Unpin)) -> bool {
    let shut = poll_fn(|context| Pin::new(&mut *stream).poll_shutdown(context));
    matches!(timeout(LINGER, shut).await, Ok(Ok(())))
}

/// Reads and drops what the other side is still sending, for a moment: closing over unread bytes
/// resets the connection, and the last words might be lost.
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
        tracing::trace!("the device did not close its side");
    }
}
