//! Requests of the rest of the gateway to a connection: commands to write, and closing it.
//!
//! At a shutdown a logged-in vehicle gets a `GOTTA GO.` before the connection is closed, after it has answered its
//! pending commands. Every other `Close` event closes at once. An operator's disconnect is no such event: it is a
//! command, `GOTTA GO.`, and the connection closes when the vehicle answers it or its time is over.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::connection::{DeviceConnection, PendingGoodbye};
use crate::{
    domain::{Action, DisconnectReason, GatewaySentence},
    sessions::ConnectionEvent,
};

/// The interval at which a pending goodbye checks whether the vehicle still owes answers. An answer is noticed at once;
/// this notices commands that end without one.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceConnection<S> {
    /// Handles the next event of the connection handle. Returns whether there was one.
    pub(super) fn poll_events(&mut self, context: &Context<'_>) -> Result<bool, DisconnectReason> {
        if self.replies.is_closing() {
            return Ok(false);
        }
        let reason = match self.handle.poll(context) {
            Poll::Pending => return Ok(false),
            Poll::Ready(ConnectionEvent::Write(command)) => {
                self.replies.command(command);
                return Ok(true);
            }
            Poll::Ready(ConnectionEvent::Close(reason)) => reason,
        };
        let Some(session) = &self.session else {
            return Err(reason);
        };
        if reason != DisconnectReason::Shutdown {
            return Err(reason);
        }
        if self.goodbye.is_some() || self.pending_goodbye.is_some() {
            return Ok(false);
        }
        session.stop_commands();
        let now = Instant::now();
        self.pending_goodbye = Some(PendingGoodbye {
            until: now + self.options.answer_patience,
            next_check: now,
        });
        Ok(true)
    }

    /// Sends the pending goodbye once the vehicle owes no answers, or its time for them is over. Returns whether it was
    /// sent.
    pub(super) fn send_pending_goodbye(&mut self) -> bool {
        let (Some(pending), Some(session)) = (&mut self.pending_goodbye, &self.session) else {
            return false;
        };
        let now = Instant::now();
        if session.awaits_answers() && now < pending.until {
            if pending.next_check <= now {
                pending.next_check = now + CHECK_INTERVAL;
            }
            return false;
        }
        self.pending_goodbye = None;
        if self.goodbye.is_none() {
            self.goodbye = Some((DisconnectReason::Shutdown, now));
            self.replies.say(GatewaySentence::Command(Action::Goodbye));
        }
        true
    }
}
