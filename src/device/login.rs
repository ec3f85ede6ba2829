//! Logging in: the wait for the commit of a login.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    REFUSAL_LOG_INTERVAL,
    connection::{DeviceConnection, PendingLogin},
    conversation::LoginRequest,
};
use crate::{
    domain::{DeviceId, DisconnectReason, GatewaySentence},
    log_throttle::LogThrottle,
    sessions::{LoggedIn, LoginError},
};

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceConnection<S> {
    pub(super) fn begin_login(&mut self, request: LoginRequest) {
        let LoginRequest {
            device_id,
            first_message,
        } = request;
        let pending_write = self.sessions.begin_login(device_id.clone(), self.remote);
        self.login = Some(PendingLogin {
            pending_write,
            device_id,
            first_message,
            since: Instant::now(),
        });
    }

    /// Finishes the pending login once it is stored. Returns whether it was.
    pub(super) fn poll_login(
        &mut self,
        context: &mut Context<'_>,
    ) -> Result<bool, DisconnectReason> {
        let Some(login) = &mut self.login else {
            return Ok(false);
        };
        let Poll::Ready(stored) = Pin::new(&mut login.pending_write).poll(context) else {
            return Ok(false);
        };
        let Some(PendingLogin {
            device_id,
            first_message,
            ..
        }) = self.login.take()
        else {
            return Ok(false);
        };
        let handle = Arc::clone(&self.handle);
        let LoggedIn { session, backlog } = self
            .sessions
            .finish_login(device_id.clone(), stored, handle)
            .map_err(|error| self.options.failed_logins.log(&device_id, &error))?;
        tracing::info!(device_id = %device_id, epoch = session.key.epoch, remote = %self.remote, "vehicle connected");
        // These commands arrive as events of this connection, so they are written after the greeting.
        self.commands.send_due(&session, backlog);
        self.session = Some(session);
        self.conversation.logged_in(device_id);
        self.last_valid = Instant::now();
        match first_message {
            None => self.replies.say(GatewaySentence::Greeting),
            Some(message) => {
                let reaction = self.conversation.on_message(message);
                self.perform(reaction);
            }
        }
        Ok(true)
    }
}

/// Logs logins that fail: while the database cannot commit, every device tries again and again.
#[derive(Debug, Clone)]
pub(crate) struct FailedLogins(Arc<LogThrottle>);

impl Default for FailedLogins {
    fn default() -> Self {
        Self(Arc::new(LogThrottle::every(REFUSAL_LOG_INTERVAL)))
    }
}

impl FailedLogins {
    /// Logs a login that failed, if it is time for a line. Returns why the connection closes.
    fn log(&self, device_id: &DeviceId, error: &LoginError) -> DisconnectReason {
        match error {
            LoginError::Overtaken(overtaken) => overtaken.0,
            LoginError::Store(error) => {
                if let Some(failed) = self.0.admit() {
                    tracing::warn!(%device_id, %error, failed, "cannot store a login");
                } else {
                    tracing::debug!(%device_id, %error, "cannot store a login");
                }
                DisconnectReason::StoreUnavailable
            }
        }
    }
}
