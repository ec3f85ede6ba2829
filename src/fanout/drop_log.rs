//! Log lines about messages that are dropped because they are not understood.

use std::{
    fmt,
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tracing::{debug, warn};

use super::codec::DecodeFault;
use crate::log_throttle::LogThrottle;

/// The interval of warnings about the shared channel, on which anybody may publish, and about too many messages.
const WARNING_INTERVAL: Duration = Duration::from_mins(1);
/// The form of a command on the shared channel, for the log line about a message that is not a command.
const EXPECTED_COMMAND: &str =
    r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"<the vehicle's id>"}"#;
/// The most characters of a message in a log line.
const MESSAGE_EXCERPT: usize = 120;
/// The most characters of a reason in a log line: a reason may quote the message.
const REASON_EXCERPT: usize = 300;

static SHARED_CHANNEL: LogThrottle = LogThrottle::every(WARNING_INTERVAL, |dropped| {
    warn!(dropped, expected = %EXPECTED_COMMAND, "message on the shared channel dropped");
});

static UNREAD: LogThrottle = LogThrottle::every(WARNING_INTERVAL, |dropped| {
    warn!(
        dropped,
        "messages of other instances dropped: they arrive too fast"
    );
});

static UNHANDLED: LogThrottle = LogThrottle::every(WARNING_INTERVAL, |dropped| {
    warn!(
        dropped,
        "messages of other instances dropped: too many wait to be handled"
    );
});

/// Logs dropped messages of other instances: the first one of each fault as a warning, the others at debug.
#[derive(Debug, Default)]
pub(super) struct DropLog {
    /// Whether a fault was logged as a warning: one for each [`DecodeFault`], in the order of its variants.
    logged_faults: [AtomicBool; DecodeFault::COUNT],
}

impl DropLog {
    /// Logs a dropped message of another instance.
    pub(super) fn peer_message(&self, fault: DecodeFault, reason: &str, message: &[u8]) {
        let message = Excerpt(message, MESSAGE_EXCERPT);
        let reason = Excerpt(reason.as_bytes(), REASON_EXCERPT);
        if self.logged_faults[fault as usize].swap(true, Ordering::Relaxed) {
            debug!(%fault, %reason, %message, "message of another instance dropped");
        } else {
            warn!(%fault, %reason, %message, "message of another instance dropped; further ones with this fault are logged at debug");
        }
    }
}

/// Logs a dropped message on the shared channel: at most one a minute as a warning.
pub(super) fn shared_channel_message(reason: &str, message: &[u8]) {
    let message = Excerpt(message, MESSAGE_EXCERPT);
    let reason = Excerpt(reason.as_bytes(), REASON_EXCERPT);
    if let Some(dropped) = SHARED_CHANNEL.admit() {
        warn!(dropped, %reason, %message, expected = %EXPECTED_COMMAND, "message on the shared channel dropped");
    } else {
        debug!(%reason, %message, "message on the shared channel dropped");
    }
}

/// Logs that messages arrived faster than they were read, so that the transport has dropped this many: at most one
/// such line a minute as a warning.
pub(super) fn unread_messages(dropped: u64) {
    if let Some(dropped) = UNREAD.admit_many(dropped) {
        warn!(
            dropped,
            "messages of other instances dropped: they arrive too fast"
        );
    } else {
        debug!(
            dropped,
            "messages of other instances dropped: they arrive too fast"
        );
    }
}

/// Counts a message that was dropped because too many wait to be handled: at most one line a minute, as a warning.
pub(super) fn unhandled_message() {
    if let Some(dropped) = UNHANDLED.admit() {
        warn!(
            dropped,
            "messages of other instances dropped: too many wait to be handled"
        );
    }
}

/// Shows the beginning of a text that anybody may have published, on one line and without control characters. The
/// number is the most characters that it shows.
struct Excerpt<'a>(&'a [u8], usize);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A character has at most four bytes. So these bytes are enough, and the rest of a huge message is not decoded.
        let start = &self.0[..self.0.len().min(4 * self.1)];
        let text = String::from_utf8_lossy(start);
        let mut shown = 0;
        for character in text.chars().take(self.1) {
            shown += character.len_utf8();
            match character {
                // Escaped quotes would make JSON unreadable.
                '"' | '\'' => write!(f, "{character}")?,
                _ => write!(f, "{}", character.escape_debug())?,
            }
        }
        if shown < self.0.len() {
            write!(f, "… ({} bytes)", self.0.len())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_is_logged_on_its_own() {
        let log = DropLog::default();
        let mut faults = DecodeFault::ALL.map(|fault| fault as usize);
        faults.sort_unstable();
        assert!(faults.into_iter().eq(0..log.logged_faults.len()));
    }

    #[test]
    fn an_excerpt_is_short_and_escaped() {
        let excerpt = |text: &str| Excerpt(text.as_bytes(), 120).to_string();
        assert_eq!(excerpt("{\"a\":'\n\x1b[31m'}"), r#"{"a":'\n\u{1b}[31m'}"#);
        let long = excerpt(&"ä".repeat(10_000));
        assert_eq!(long, format!("{}… (20000 bytes)", "ä".repeat(120)));
    }
}
