//! Local and remote delivery: several instances in one process, on one database and an in-memory fan-out, with paused
//! time.

mod local;
mod node;
mod remote;
mod virtual_time;

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::domain::{Command, CommandOutcome, CommandState};
use node::{Node, TestCluster, Vehicle};

pub(super) use virtual_time::VirtualTime;

/// The time-out of the commands of these tests.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The command of an outcome that has to be [`CommandOutcome::Recorded`].
#[track_caller]
fn recorded(outcome: CommandOutcome) -> Command {
    match outcome {
        CommandOutcome::Recorded { command } => command,
        other => panic!("no command was recorded: {other:?}"),
    }
}

#[track_caller]
fn assert_state(outcome: CommandOutcome, state: CommandState) {
    let command = recorded(outcome);
    assert_eq!(command.state, state, "{command:?}");
}

/// Asserts that `expected` has passed since `started`, or up to 700 ms more, because outcomes are polled for.
#[track_caller]
fn assert_elapsed(started: Instant, expected: Duration) {
    let (elapsed, tolerance) = (started.elapsed(), Duration::from_millis(700));
    assert!(
        elapsed >= expected && elapsed <= expected + tolerance,
        "{elapsed:?} instead of {expected:?}"
    );
}

async fn sleep_millis(millis: u64) {
    sleep(Duration::from_millis(millis)).await;
}
