//! `vehicle-gateway simulate`, run as a user runs it.

use std::{
    io::Write,
    net::SocketAddr,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
};

use super::process::{OutputLines, send_signal};

/// A running `vehicle-gateway simulate`; killed when dropped.
pub(crate) struct Simulation {
    child: Child,
    keyboard: ChildStdin,
    output: OutputLines,
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
        let output = OutputLines::of(child.stdout.take().unwrap());
        Self {
            keyboard: child.stdin.take().unwrap(),
            child,
            output,
        }
    }

    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.keyboard, "{line}").unwrap();
    }

    /// Waits for a line of output that contains this text.
    #[track_caller]
    pub(crate) fn wait_for_line(&self, text: &str) -> String {
        self.output.wait_for(text, |line| line.contains(text))
    }

    /// The numbers in the line of the summary about this subject.
    #[track_caller]
    pub(crate) fn summary(&self, subject: &str) -> Vec<u64> {
        self.output
            .wait_for(subject, |line| line.starts_with(subject))
            .split(|character: char| !character.is_ascii_digit())
            .filter_map(|number| number.parse().ok())
            .collect()
    }

    /// Sends a signal by name, such as `TERM`.
    pub(crate) fn signal(&self, name: &str) {
        send_signal(self.child.id(), name);
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
