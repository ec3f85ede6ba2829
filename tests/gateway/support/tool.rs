//! Public tools that judge what others read.

use std::process::Command;

fn folder() -> String {
    std::env::var("VEHICLE_GATEWAY_TEST_TOOLS")
        .expect("run the tests by ./scripts/test, which installs the public tools")
}

/// A tool of `tests/requirements.txt`.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(format!("{}/{name}", folder()))
}

/// A program in JavaScript that uses what `tests/verifiers/package.json` lists.
pub(crate) fn node(program: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(program)
        .env("NODE_PATH", format!("{}/../node_modules", folder()));
    command
}

/// Runs it, and shows what it said if that did not go well; what it said on standard output.
#[track_caller]
pub(crate) fn expect_success(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}
