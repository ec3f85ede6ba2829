//! Log lines about messages that are not understood: enough of them, and not one for each message.

use std::{
    collections::HashSet,
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;
use tracing::{debug, warn};

use super::wire::Fault;

/// How long it is quiet about the shared channel after a warning.
const QUIET: Duration = Duration::from_mins(1);
/// What people should publish on the shared channel.
const RIGHT: &str =
    r#"{"type":"command","message":"HEY YOU, RUN!","clientId":"<the vehicle's id>"}"#;
/// As much of a message as a log line shows, in characters.
const EXCERPT: usize = 120;
/// As much of a reason, which may quote the message.
const REASON: usize = 300;

/// What was said already.
#[derive(Debug, Default)]
pub(super) struct Complaints(Mutex<Said>);

#[derive(Debug, Default)]
struct Said {
    faults: HashSet<Fault>,
    spoken: Option<Instant>,
}

impl Complaints {
    /// Another instance said something that is not understood: a warning for the first of each kind.
    pub(super) fn of_instance(&self, fault: Fault, reason: &str, message: &[u8]) {
        let message = Excerpt(message, EXCERPT);
        let reason = Excerpt(reason.as_bytes(), REASON);
        if self.is_first(fault) {
            warn!(%reason, %message, "a message between instances is dropped: {fault}; further ones are told at debug");
        } else {
            debug!(%reason, %message, "a message between instances is dropped: {fault}");
        }
    }

    /// Somebody published something on the shared channel that is no command: a warning a minute.
    pub(super) fn of_person(&self, reason: &str, message: &[u8]) {
        let message = Excerpt(message, EXCERPT);
        let reason = Excerpt(reason.as_bytes(), REASON);
        if self.is_due(Instant::now()) {
            warn!(%reason, %message, right = %RIGHT, "a message on the shared channel is no command");
        } else {
            debug!(%reason, %message, "a message on the shared channel is no command");
        }
    }

    fn is_first(&self, fault: Fault) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        said.faults.insert(fault)
    }

    fn is_due(&self, now: Instant) -> bool {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let due = said.spoken.is_none_or(|last| now >= last + QUIET);
        if due {
            said.spoken = Some(now);
        }
        due
    }
}

/// The beginning of what anybody may have published, so many characters on one line, none of them a control.
struct Excerpt<'a>(&'a [u8], usize);

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Four bytes a character at most, so that a huge message is not decoded for its beginning.
        let start = &self.0[..self.0.len().min(4 * self.1)];
        let text = String::from_utf8_lossy(start);
        let mut shown = 0;
        for character in text.chars().take(self.1) {
            shown += character.len_utf8();
            match character {
                // JSON is hard enough to read.
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
    fn each_kind_of_fault_is_told_once() {
        let complaints = Complaints::default();
        assert!(complaints.is_first(Fault::NotJson));
        assert!(!complaints.is_first(Fault::NotJson));
        assert!(complaints.is_first(Fault::UnknownType));
    }

    #[test]
    fn the_shared_channel_is_complained_of_once_a_minute() {
        let complaints = Complaints::default();
        let start = Instant::now();
        assert!(complaints.is_due(start));
        assert!(!complaints.is_due(start + Duration::from_secs(59)));
        assert!(complaints.is_due(start + QUIET));
        assert!(!complaints.is_due(start + QUIET));
    }

    #[test]
    fn an_excerpt_is_short_and_escaped() {
        let excerpt = |text: &str| Excerpt(text.as_bytes(), 120).to_string();
        assert_eq!(excerpt("{\"a\":'\n\x1b[31m'}"), r#"{"a":'\n\u{1b}[31m'}"#);
        let long = excerpt(&"ä".repeat(10_000));
        assert_eq!(long, format!("{}… (20000 bytes)", "ä".repeat(120)));
    }
}
