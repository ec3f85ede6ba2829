//! The deadlines of a connection, on one timer.

use std::{future::Future, task::Context, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{connection::DeviceConnection, replies::ReplyWait};
use crate::domain::DisconnectReason;

/// Garbage of a text device ends after this time without a byte.
const QUIET: Duration = Duration::from_millis(200);
/// How much longer than the store's own timeout a connection waits for a commit.
const STORE_SLACK: Duration = Duration::from_secs(1);

/// What is to be done when the timer fires.
#[derive(Debug, Clone, Copy)]
enum DueAction {
    Greet,
    EndGarbage,
    /// Close the connection if other devices wait for the memory that its blob holds.
    CheckSlowBlob,
    /// Wake up: the next round writes the command.
    WriteCommand,
    /// Wake up: the next round looks whether the goodbye may be sent.
    CheckGoodbye,
    Close(DisconnectReason),
}

impl<S: AsyncRead + AsyncWrite + Unpin> DeviceConnection<S> {
    /// The next due action, and when it is due.
    fn next_due(&self) -> (Instant, DueAction) {
        let options = &self.options;
        let mut next = match (&self.login, &self.session) {
            (Some(login), _) => (
                login.since + options.commit_timeout + STORE_SLACK,
                DueAction::Close(DisconnectReason::StoreUnavailable),
            ),
            (None, None) => (
                self.opened + options.login_timeout,
                DueAction::Close(DisconnectReason::LoginTimeout),
            ),
            // While the gateway does not read, the device is not silent: it waits for memory that others hold.
            (None, Some(_)) => match self.waiting_for_room {
                Some(since) => (
                    since + options.blob_timeout,
                    DueAction::Close(DisconnectReason::OverCapacity),
                ),
                None => (
                    self.last_valid + options.silence_timeout,
                    DueAction::Close(DisconnectReason::Silent),
                ),
            },
        };
        let mut consider = |at: Instant, due: DueAction| {
            if at < next.0 {
                next = (at, due);
            }
        };
        if !self.greeted {
            consider(self.opened + options.greeting_delay, DueAction::Greet);
        }
        if self.decoder.is_skipping() && self.may_handle() {
            consider(self.last_read + QUIET, DueAction::EndGarbage);
        }
        if let Some(since) = self.share.held_since() {
            consider(since + options.blob_timeout, DueAction::CheckSlowBlob);
        }
        match self.replies.wait() {
            // Kept here instead of by a wrapper of the stream, which would add a timer to each idle connection.
            Some(ReplyWait::Device(since)) => consider(
                since + options.write_timeout,
                DueAction::Close(DisconnectReason::SlowReader),
            ),
            Some(ReplyWait::Store(since)) => consider(
                since + options.commit_timeout + STORE_SLACK,
                DueAction::Close(DisconnectReason::StoreUnavailable),
            ),
            Some(ReplyWait::CommandGap(until)) => consider(until, DueAction::WriteCommand),
            None => {}
        }
        if let Some(pending) = self.pending_goodbye {
            consider(pending.next_check, DueAction::CheckGoodbye);
        }
        if let Some((reason, since)) = self.goodbye {
            let timeout = match reason {
                DisconnectReason::Shutdown => options.shutdown_goodbye_timeout,
                _ => options.goodbye_timeout,
            };
            consider(since + timeout, DueAction::Close(reason));
        }
        next
    }

    /// Does what is due, or sets the timer for it.
    ///
    /// A later deadline does not reset the timer: it fires early then, finds nothing due and is set again. So a
    /// sentence, which only postpones deadlines, costs no timer operation.
    pub(super) fn poll_timers(
        &mut self,
        context: &mut Context<'_>,
    ) -> Result<bool, DisconnectReason> {
        let (at, due) = self.next_due();
        if at <= Instant::now() {
            match due {
                DueAction::Greet => {
                    self.greeted = true;
                    self.replies.connected();
                }
                DueAction::EndGarbage => self.decoder.quiet(),
                DueAction::CheckSlowBlob if self.share.is_wanted() => {
                    return Err(DisconnectReason::OverCapacity);
                }
                DueAction::CheckSlowBlob => self.share.renew(),
                DueAction::WriteCommand | DueAction::CheckGoodbye => {}
                DueAction::Close(reason) => return Err(reason),
            }
            return Ok(true);
        }
        if at < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        Ok(self.timer.as_mut().poll(context).is_ready())
    }
}
