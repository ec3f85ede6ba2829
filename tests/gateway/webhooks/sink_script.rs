//! `scripts/webhook-sink`, run as a user runs it.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
};

use serde_json::json;

use super::ALLOW_TEST_RECEIVERS;
use crate::support::{Daemon, Receiver, report, wait_until};

/// A running sink; killed when dropped.
struct Sink {
    child: Child,
    lines: BufReader<ChildStdout>,
    url: String,
}

impl Sink {
    fn start(arguments: &[&str]) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/webhook-sink");
        let mut child = Command::new(script)
            .args(["--port", "0"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        lines.read_line(&mut first).unwrap();
        let url = first.split(' ').nth(2).unwrap().to_owned();
        Self { child, lines, url }
    }

    /// The next line of output.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    /// Expects this as the next line, after the time of day.
    #[track_caller]
    fn wait_for_line(&mut self, expected: &str) {
        assert_eq!(self.line().split_once(' ').unwrap().1, expected);
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

#[test]
fn the_sink_shows_messages_and_whether_they_are_signed() {
    let mut sink = Sink::start(&["--secret", Receiver::SECRET]);
    let mut other = Sink::start(&[
        "--secret",
        "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "--status",
        "500",
    ]);
    let daemon = Daemon::builder()
        .set(ALLOW_TEST_RECEIVERS[0])
        .set(ALLOW_TEST_RECEIVERS[1])
        .start();
    for url in [&sink.url, &other.url] {
        let body = json!({ "url": url, "secret": Receiver::SECRET });
        assert_eq!(daemon.post("/webhooks", &body).status(), 201);
    }
    let mut device = daemon.log_in("truck");
    sink.wait_for_line("vehicle.online truck #1 (signed)");
    other.wait_for_line("vehicle.online truck #1 (FORGED OR ANOTHER SECRET)");
    device.say(&report(3));
    sink.wait_for_line("vehicle.updated truck #2 position battery running (signed)");
    device.say("GOTTA GO.");
    sink.wait_for_line("vehicle.offline truck #3 goodbye (signed)");
    wait_until("the endpoint with the other secret fails", || {
        let webhooks = daemon.json("/webhooks");
        (webhooks["items"][1]["lastError"] == "answered 500").then_some(())
    });
}
