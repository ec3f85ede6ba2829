//! What a connection waits for at most, and what happens then.

use std::{future::Future, task::Context, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    connection::{Connection, Ended},
    replies::Wait,
};
use crate::domain::DisconnectReason;

/// Without bytes for this long, garbage of a text device is over.
const QUIET: Duration = Duration::from_millis(200);
/// What the store is given beyond its own time-out before a connection stops waiting for it.
const STORE_SLACK: Duration = Duration::from_secs(1);

/// What happens when the timer fires.
#[derive(Debug, Clone, Copy)]
enum Due {
    Greet,
    EndOfGarbage,
    SlowBlob,
    Command,
    Release,
    Close(DisconnectReason),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// What is due next, and when.
    fn next_due(&self) -> (Instant, Due) {
        let options = &self.options;
        let mut next = match (&self.login, &self.session) {
            (Some(login), _) => (
                login.since + options.commit_timeout + STORE_SLACK,
                Due::Close(DisconnectReason::StoreUnavailable),
            ),
            (None, None) => (
                self.opened + options.login_timeout,
                Due::Close(DisconnectReason::LoginTimeout),
            ),
            // The device cannot be blamed while it is not read: others have to finish first.
            (None, Some(_)) => match self.short_of_room {
                Some(since) => (
                    since + options.blob_timeout,
                    Due::Close(DisconnectReason::OverCapacity),
                ),
                None => (
                    self.last_understood + options.silence_timeout,
                    Due::Close(DisconnectReason::Silent),
                ),
            },
        };
        let mut also = |at: Instant, due: Due| {
            if at < next.0 {
                next = (at, due);
            }
        };
        if !self.greeted {
            also(self.opened + options.greeting_delay, Due::Greet);
        }
        if self.decoder.is_skipping() && self.may_handle() {
            also(self.last_read + QUIET, Due::EndOfGarbage);
        }
        if let Some(since) = self.share.held_since() {
            also(since + options.blob_timeout, Due::SlowBlob);
        }
        match self.replies.wait() {
            Some(Wait::Device(since)) => also(
                since + options.write_timeout,
                Due::Close(DisconnectReason::SlowReader),
            ),
            Some(Wait::Store(since)) => also(
                since + options.commit_timeout + STORE_SLACK,
                Due::Close(DisconnectReason::StoreUnavailable),
            ),
            Some(Wait::CommandGap(until)) => also(until, Due::Command),
            None => {}
        }
        if let Some(release) = self.releasing {
            also(release.look_again, Due::Release);
        }
        if let Some((reason, since)) = self.goodbye {
            let patience = match reason {
                DisconnectReason::Shutdown => options.shutdown_goodbye_timeout,
                _ => options.goodbye_timeout,
            };
            also(since + patience, Due::Close(reason));
        }
        next
    }

    /// Does what is due; otherwise sees to it that this is polled in time. The timer is only ever
    /// moved forward: it may fire early and find nothing due, but a sentence never costs a reset.
    pub(super) fn watch_the_clock(&mut self, context: &mut Context<'_>) -> Result<bool, Ended> {
        let (at, due) = self.next_due();
        if at <= Instant::now() {
            match due {
                Due::Greet => {
                    self.greeted = true;
                    self.replies.connected();
                }
                Due::EndOfGarbage => self.decoder.quiet(),
                Due::SlowBlob if self.share.is_wanted() => {
                    return Err(DisconnectReason::OverCapacity);
                }
                Due::SlowBlob => self.share.renew(),
                Due::Command | Due::Release => {}
                Due::Close(reason) => return Err(reason),
            }
            return Ok(true);
        }
        if at < self.timer.deadline() || self.timer.is_elapsed() {
            self.timer.as_mut().reset(at);
        }
        Ok(self.timer.as_mut().poll(context).is_ready())
    }
}
