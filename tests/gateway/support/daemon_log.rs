//! The daemon's log, as tests follow it.

use std::{
    io::{BufRead, BufReader},
    process::ChildStderr,
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

use serde_json::Value;

use super::PATIENCE;

/// The daemon's log, collected line by line; the flag is set at the end of the stream.
#[derive(Default)]
pub(super) struct Log {
    lines: Mutex<(Vec<Value>, bool)>,
    more: Condvar,
    /// Whether a reader that pauses is to go on.
    resumed: Mutex<bool>,
    may_resume: Condvar,
}

/// What the reader of the daemon's log does once the daemon is ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogReader {
    /// Reads on, as log collectors do.
    ReadsOn,
    /// Closes the pipe, as `head` does.
    Closes,
    /// Reads nothing more until [`Log::resume`].
    Pauses,
}

impl Log {
    /// Reads the log on a thread.
    pub(super) fn follow(self: Arc<Self>, stderr: ChildStderr, reader: LogReader) {
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let is_ready = line["message"] == "ready";
                self.lines.lock().unwrap().0.push(line);
                self.more.notify_all();
                match reader {
                    LogReader::Closes if is_ready => break,
                    LogReader::Pauses if is_ready => self.wait_until_resumed(),
                    _ => {}
                }
            }
            self.lines.lock().unwrap().1 = true;
            self.more.notify_all();
        });
    }

    fn wait_until_resumed(&self) {
        let is_paused = |resumed: &mut bool| !*resumed;
        let resumed = self.resumed.lock().unwrap();
        drop(self.may_resume.wait_while(resumed, is_paused).unwrap());
    }

    /// Waits for a line.
    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        let mut lines = self.lines.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = lines.0[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = lines.0.len();
            let left = PATIENCE.saturating_sub(started.elapsed());
            assert!(
                !left.is_zero() && !lines.1,
                "not logged: {what}\n{:#?}",
                lines.0
            );
            lines = self.more.wait_timeout(lines, left).unwrap().0;
        }
    }

    /// The lines so far.
    pub(super) fn lines(&self) -> Vec<Value> {
        self.lines.lock().unwrap().0.clone()
    }

    /// Has a reader that pauses read on.
    pub(super) fn resume(&self) {
        *self.resumed.lock().unwrap() = true;
        self.may_resume.notify_all();
    }
}
