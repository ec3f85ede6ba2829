//! The daemon's log, as tests follow it.

use std::{
    io::{BufRead, BufReader},
    process::ChildStderr,
    sync::{Arc, Condvar, Mutex},
    time::Instant,
};

use serde_json::Value;

use super::PATIENCE;

/// How the panic of a test begins that waits for a log line after the log was closed: it says nothing about the daemon.
const NEEDS_THE_LOG: &str = "needs the log";

/// The daemon's log, collected line by line.
#[derive(Default)]
pub(super) struct Log {
    collected: Mutex<Collected>,
    more: Condvar,
    /// Whether a reader that pauses is to go on.
    resumed: Mutex<bool>,
    may_resume: Condvar,
}

#[derive(Default)]
struct Collected {
    lines: Vec<Value>,
    end: Option<LogEnd>,
}

/// Why there are no more lines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LogEnd {
    /// The daemon has ended.
    OfDaemon,
    /// The reader has closed the pipe.
    OfReader,
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

impl LogReader {
    /// What the reader does unless the test says otherwise: it closes the pipe in a run with
    /// `VEHICLE_GATEWAY_TEST_STDERR=closed`.
    pub(super) fn of_this_run() -> Self {
        match std::env::var("VEHICLE_GATEWAY_TEST_STDERR").as_deref() {
            Err(_) => Self::ReadsOn,
            Ok("closed") => Self::Closes,
            Ok(other) => panic!("VEHICLE_GATEWAY_TEST_STDERR is {other}, not closed"),
        }
    }
}

impl Log {
    /// Reads the log on a thread.
    pub(super) fn follow(self: Arc<Self>, stderr: ChildStderr, reader: LogReader) {
        std::thread::spawn(move || {
            let mut end = LogEnd::OfDaemon;
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                let is_ready = line["message"] == "ready";
                self.collected.lock().unwrap().lines.push(line);
                self.more.notify_all();
                match reader {
                    LogReader::Closes if is_ready => {
                        end = LogEnd::OfReader;
                        break;
                    }
                    LogReader::Pauses if is_ready => self.wait_until_resumed(),
                    _ => {}
                }
            }
            self.collected.lock().unwrap().end = Some(end);
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
        let mut collected = self.collected.lock().unwrap();
        let mut seen = 0;
        loop {
            if let Some(line) = collected.lines[seen..].iter().find(|line| wanted(line)) {
                return line.clone();
            }
            seen = collected.lines.len();
            let left = PATIENCE.saturating_sub(started.elapsed());
            assert!(
                collected.end != Some(LogEnd::OfReader),
                "{NEEDS_THE_LOG}: {what}"
            );
            assert!(
                !left.is_zero() && collected.end.is_none(),
                "not logged: {what}\n{:#?}",
                collected.lines
            );
            collected = self.more.wait_timeout(collected, left).unwrap().0;
        }
    }

    /// The lines so far.
    #[track_caller]
    pub(super) fn lines(&self) -> Vec<Value> {
        let collected = self.collected.lock().unwrap();
        assert!(
            collected.end != Some(LogEnd::OfReader),
            "{NEEDS_THE_LOG}: all of it"
        );
        collected.lines.clone()
    }

    /// The lines that were read, also if the reader has closed the log: for reports, not for checks.
    pub(super) fn lines_read(&self) -> Vec<Value> {
        self.collected.lock().unwrap().lines.clone()
    }

    /// Has a reader that pauses read on.
    pub(super) fn resume(&self) {
        *self.resumed.lock().unwrap() = true;
        self.may_resume.notify_all();
    }
}
