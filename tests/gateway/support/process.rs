//! Child processes: signals, and their standard output line by line.

use std::{
    io::{BufRead, BufReader},
    process::{ChildStdout, Command, Stdio},
    sync::mpsc::{Receiver, channel},
};

use super::PATIENCE;

/// Sends a signal by name, such as `TERM`, to a process that is running.
#[track_caller]
pub(super) fn send_signal(pid: u32, name: &str) {
    assert!(try_send_signal(&pid.to_string(), name), "no process {pid}");
}

/// Sends a signal; false if there is no such process.
pub(super) fn try_send_signal(pid: &str, name: &str) -> bool {
    Command::new("kill")
        .args([&format!("-{name}"), pid])
        .stderr(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// The ids of the processes that a process has started.
pub(super) fn child_processes(pid: u32) -> Vec<String> {
    let output = Command::new("pgrep")
        .args(["-P", &pid.to_string()])
        .output()
        .unwrap();
    let pids = String::from_utf8(output.stdout).unwrap();
    pids.lines().map(str::to_owned).collect()
}

/// The standard output of a process, read by a thread.
pub(super) struct OutputLines(Receiver<String>);

impl OutputLines {
    pub(super) fn of(output: ChildStdout) -> Self {
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // The test may have stopped reading.
                let _unread = sender.send(line);
            }
        });
        Self(lines)
    }

    /// Waits for a line that is wanted and skips those before it.
    #[track_caller]
    pub(super) fn wait_for(&self, what: &str, is_wanted: impl Fn(&str) -> bool) -> String {
        let mut skipped = Vec::new();
        loop {
            match self.0.recv_timeout(PATIENCE) {
                Ok(line) if is_wanted(&line) => return line,
                Ok(line) => skipped.push(line),
                Err(error) => panic!("not printed: {what} ({error})\n{skipped:#?}"),
            }
        }
    }
}
