//! Logging in: the wait for the commit of a login.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    connection::{DeviceConnection, PendingLogin},
    conversation::LoginRequest,
    outage_log::{self, LoginLine},
};
use crate::{
    domain::{DeviceId, DisconnectReason, GatewaySentence},
    sessions::{LoggedIn, LoginError},
};

/// How long a login waits for its commit that counts as late. After an outage all that have waited are stored together,
/// also those of devices that have hung up and come again meanwhile, perhaps more than once.
const LATE: Duration = Duration::from_secs(1);

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
            since,
            ..
        }) = self.login.take()
        else {
            return Ok(false);
        };
        let handle = Arc::clone(&self.handle);
        let LoggedIn { session, backlog } = self
            .sessions
            .finish_login(device_id.clone(), stored, handle)
            .map_err(|error| login_failed(&device_id, &error))?;
        if since.elapsed() >= LATE {
            self.login_line = LoginLine::Counted;
            outage_log::connected_late(&session.key, self.remote);
        } else {
            tracing::info!(device_id = %device_id, epoch = session.key.epoch, remote = %self.remote, "vehicle connected");
        }
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

/// Logs a login that failed. Returns why the connection closes.
fn login_failed(device_id: &DeviceId, error: &LoginError) -> DisconnectReason {
    match error {
        LoginError::Overtaken(overtaken) => overtaken.0,
        LoginError::Store(error) => {
            outage_log::login_not_stored(device_id, error);
            DisconnectReason::StoreUnavailable
        }
    }
}
