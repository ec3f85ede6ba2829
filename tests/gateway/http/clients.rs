//! Clients that public tools generate from the `OpenAPI` document. A program in `tests/clients` calls every operation
//! with each of them and prints the operations' ids.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};

use crate::support::{
    Daemon, Receiver, Simulation, expect_success, node, node_modules, node_tool, tool, tools,
};

const SOURCES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// A gateway with a vehicle as the programs expect it, and a receiver of webhooks.
struct Gateway {
    daemon: Daemon,
    receiver: Receiver,
    _vehicle: Simulation,
}

impl Gateway {
    fn start() -> Self {
        let daemon = Daemon::builder()
            .set("webhooks.allow_http=true")
            .set("webhooks.allow_private=true")
            .start();
        let mut vehicle = Simulation::start(daemon.device, &["--id", "truck-1", "--seed", "1"]);
        vehicle.wait_for_line("HI, NICE TO MEET YOU!");
        vehicle.type_line("REPORT");
        vehicle.wait_for_line("OK, THANKS!");
        vehicle.type_line("ERROR hello");
        vehicle.wait_for_line("DAAAMN!");
        // It refuses if it is turned off already.
        daemon.post("/service/truck-1/turnOff", &json!({}));
        assert_eq!(daemon.json("/service/truck-1/fetch-info")["running"], false);
        Self {
            daemon,
            receiver: Receiver::start(|_| 200),
            _vehicle: vehicle,
        }
    }

    /// A new folder with the document as it is served, and the document's path.
    fn folder(&self) -> (PathBuf, PathBuf) {
        let folder = self.daemon.folder().join("client");
        fs::create_dir(&folder).unwrap();
        let document = folder.join("openapi.json");
        fs::write(&document, self.daemon.get("/openapi.json").text().unwrap()).unwrap();
        (folder, document)
    }

    /// Runs a program and checks that it has called every operation.
    #[track_caller]
    fn run(&self, program: &mut Command) {
        let arguments = [self.daemon.url(""), self.receiver.url()];
        let printed = expect_success(program.args(arguments));
        let called: BTreeSet<&str> = printed.lines().collect();
        let document: Value = self.daemon.json("/openapi.json");
        let paths = document["paths"].as_object().unwrap().values();
        let operations = paths.flat_map(|path| path.as_object().unwrap().values());
        let all: BTreeSet<&str> = operations
            .map(|operation| operation["operationId"].as_str().unwrap())
            .collect();
        assert_eq!(called, all);
    }
}

/// Copies files of `tests/clients` into a folder.
fn copy(files: &[&str], into: &Path) {
    for file in files {
        let source = Path::new(SOURCES).join(file);
        fs::copy(&source, into.join(source.file_name().unwrap())).unwrap();
    }
}

#[test]
fn a_python_client_imports_and_calls_every_operation() {
    let gateway = Gateway::start();
    let (folder, document) = gateway.folder();
    expect_success(
        tool("openapi-python-client")
            .args(["generate", "--fail-on-warning", "--path"])
            .arg(document)
            .arg("--output-path")
            .arg(folder.join("python")),
    );
    let models = folder.join("python/vehicle_gateway_client/models");
    for model in fs::read_dir(models).unwrap() {
        let name = model.unwrap().file_name().into_string().unwrap();
        assert!(!name.contains("_type_"), "{name} is one of several");
    }
    gateway.run(
        tool("python")
            .arg(format!("{SOURCES}/client.py"))
            .env("PYTHONPATH", folder.join("python")),
    );
}

#[test]
fn typescript_types_fit_every_operation() {
    let gateway = Gateway::start();
    let (folder, document) = gateway.folder();
    expect_success(
        node_tool("openapi-typescript")
            .arg(document)
            .arg("--output")
            .arg(folder.join("api.ts")),
    );
    copy(&["client.mts", "tsconfig.json"], &folder);
    // Modules look for packages beside themselves only.
    std::os::unix::fs::symlink(node_modules(), folder.join("node_modules")).unwrap();
    expect_success(node_tool("tsc").current_dir(&folder));
    gateway.run(&mut node(folder.join("built/client.mjs")));
}

/// Compiles a client with its dependencies: half a minute, the first time.
#[test]
fn long_a_rust_client_compiles_and_calls_every_operation() {
    let gateway = Gateway::start();
    let (folder, document) = gateway.folder();
    let sources = folder.join("src");
    fs::create_dir(&sources).unwrap();
    copy(&["rust/Cargo.toml", "rust/Cargo.lock"], &folder);
    copy(&["rust/src/main.rs"], &sources);
    expect_success(
        tool("oas3-gen")
            .args(["generate", "client-mod", "--input"])
            .arg(document)
            .arg("--output")
            .arg(sources.join("gateway")),
    );
    let built = tools().join("client");
    expect_success(
        Command::new("cargo")
            .args(["build", "--quiet", "--locked", "--target-dir"])
            .arg(&built)
            .current_dir(&folder),
    );
    gateway.run(&mut Command::new(
        built.join("debug/vehicle-gateway-client-test"),
    ));
}
