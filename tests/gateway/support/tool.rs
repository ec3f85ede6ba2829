//! Public tools that check what the gateway produces.

use std::{ffi::OsStr, path::PathBuf, process::Command};

/// The folder of the tools' programs.
fn programs() -> PathBuf {
    std::env::var_os("VEHICLE_GATEWAY_TEST_TOOLS")
        .expect("run the tests by ./scripts/test, which installs the public tools")
        .into()
}

/// The folder of all that belongs to the tools. A test may keep in it what it builds from their lists only.
pub(crate) fn tools() -> PathBuf {
    programs().parent().unwrap().to_owned()
}

/// A tool of `tests/requirements.txt`, or the generator of Rust clients.
pub(crate) fn tool(name: &str) -> Command {
    let programs = programs();
    let mut command = Command::new(programs.join(name));
    // Tools run each other.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(programs).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders).unwrap());
    command
}

/// The packages of `tests/verifiers/package.json`.
pub(crate) fn node_modules() -> PathBuf {
    tools().join("node_modules")
}

/// A program of these packages.
pub(crate) fn node_tool(name: &str) -> Command {
    Command::new(node_modules().join(".bin").join(name))
}

/// A JavaScript program that uses these packages.
pub(crate) fn node(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("node");
    command.arg(program).env("NODE_PATH", node_modules());
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
