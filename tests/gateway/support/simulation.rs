//! `vehicle-gateway simulate`, run as a user runs it.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::mpsc::{Receiver, channel},
};

use super::PATIENCE;

/// A running `vehicle-gateway simulate`; killed when dropped.
pub(crate) struct Simulation {
    child: Child,
    keyboard: ChildStdin,
    screen: Receiver<String>,
}

impl Simulation {
    /// Starts a simulation against this device port with further arguments.
    pub(crate) fn start(gateway: SocketAddr, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
            .args(["simulate", "--connect", &gateway.to_string()])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (line, screen) = channel();
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for said in BufReader::new(output).lines().map_while(Result::ok) {
                // The test may have stopped reading.
                let _unread = line.send(said);
            }
        });
        Self {
            keyboard: child.stdin.take().unwrap(),
            child,
            screen,
        }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Waits for a line of output that contains this text.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        self.next_line(text, |line| line.contains(text))
    }

    /// The numbers in the line of the summary about this subject.
    #[track_caller]
    pub(crate) fn summary(&self, subject: &str) -> Vec<u64> {
        self.next_line(subject, |line| line.starts_with(subject))
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    }

    #[track_caller]
    fn next_line(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let mut others = Vec::new();
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(line) if wanted(&line) => return line,
                Ok(line) => others.push(line),
                Err(error) => panic!("never shown: {what} ({error})\n{others:#?}"),
            }
        }
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    /// Waits for the exit of the process.
    #[track_caller]
    pub(crate) fn wait(&mut self) -> ExitStatus {
        super::wait_until("the simulation exits", || self.child.try_wait().unwrap())
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        // It may have exited already.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
