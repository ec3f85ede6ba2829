//! Public tools that check what the gateway produces.

use std::process::Command;

fn folder() -> String {
    std::env::var("VEHICLE_GATEWAY_TEST_TOOLS")
        .expect("run the tests by ./scripts/test, which installs the public tools")
}

/// A tool of `tests/requirements.txt`.
pub(crate) fn tool(name: &str) -> Command {
    Command::new(format!("{}/{name}", folder()))
}

/// A JavaScript program that uses the packages of `tests/verifiers/package.json`.
pub(crate) fn node(program: &str) -> Command {
    let mut command = Command::new("node");
    command
        .arg(program)
        .env("NODE_PATH", format!("{}/../node_modules", folder()));
    command
}

/// Runs a command that must succeed and returns its standard output; a failure shows all of its output.
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
