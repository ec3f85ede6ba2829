//! The API against its `OpenAPI` document, checked by public tools.

use std::process::Command;

use super::keys::{new_key, start_with};
use crate::support::{Daemon, Simulation, expect_success, tool};

#[test]
fn the_openapi_document_is_valid_and_printed_as_it_is_served() {
    let daemon = Daemon::start();
    let served = daemon.get("/openapi.json").text().unwrap();
    let printed = Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
        .arg("openapi")
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(printed.stdout).unwrap(), served);
    let file = daemon.folder().join("openapi.json");
    std::fs::write(&file, served).unwrap();
    expect_success(tool("openapi-spec-validator").arg(file));
}

/// `EXAMPLES=500` for a long run.
#[test]
fn generated_requests_get_only_documented_answers() {
    // Keys are required, so that the tool finds operations that are answered without one.
    let (key, table) = new_key("everything", "read,metrics,ingest,command,manage,keys");
    let daemon = start_with(&[table]);
    // Two vehicles that answer commands and have a history.
    let vehicles = ["truck-1", "truck-2"].map(|id| {
        let mut vehicle = Simulation::start(daemon.device, &["--id", id]);
        vehicle.wait_for_line("HI, NICE TO MEET YOU!");
        vehicle.type_line("REPORT");
        vehicle.wait_for_line("OK, THANKS!");
        vehicle.type_line("ERROR hello");
        vehicle.wait_for_line("DAAAMN!");
        vehicle
    });
    let examples = std::env::var("EXAMPLES").unwrap_or_else(|_| "10".to_owned());
    expect_success(
        tool("schemathesis")
            .args([
                "run",
                "--no-color",
                "--seed",
                "1",
                "--max-examples",
                &examples,
            ])
            // The first expects 401 for each wrong key, also for the eleventh in a minute. The second takes the key that
            // is sent with every request for one that it has left out. Both are tested by the document otherwise.
            .args(["--exclude-checks", "ignored_auth,missing_required_header"])
            .arg("--header")
            .arg(format!("Authorization: Bearer {key}"))
            .arg(daemon.url("/openapi.json"))
            .env(
                "SCHEMATHESIS_HOOKS",
                concat!(env!("CARGO_MANIFEST_DIR"), "/tests/schemathesis_hooks.py"),
            )
            .current_dir(daemon.folder()),
    );
    drop(vehicles);
    // The requests may have deleted vehicles; the gateway still works.
    daemon.log_in("truck-1");
}
