//! Deployment files: the image, compose.yaml, haproxy.cfg, the systemd unit, the settings of instances.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::support::{expect_success, tool};

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn text(name: &str) -> String {
    fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn compose() -> Value {
    let json = expect_success(
        tool("python")
            .args([
                "-c",
                "import json, sys, yaml; print(json.dumps(yaml.safe_load(open(sys.argv[1]))))",
            ])
            .arg(path("compose.yaml")),
    );
    serde_json::from_str(&json).unwrap()
}

/// The effective settings with this environment and these arguments.
#[track_caller]
fn check_config(environment: &BTreeMap<String, String>, arguments: &[&str]) -> String {
    expect_success(
        Command::new(env!("CARGO_BIN_EXE_vehicle-gateway"))
            .arg("check-config")
            .args(arguments)
            .envs(environment)
            .current_dir(env!("CARGO_MANIFEST_DIR")),
    )
}

#[track_caller]
fn has(settings: &str, line: &str) {
    assert!(
        settings.lines().any(|one| one == line),
        "{line}\n{settings}"
    );
}

/// Parses a duration in whole seconds or minutes, as `HAProxy`, Docker and the gateway write it.
#[track_caller]
fn seconds(text: &str) -> u64 {
    let (number, unit) = text.split_at(text.len() - 1);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        _ => panic!("{text}"),
    };
    number.parse::<u64>().unwrap() * seconds
}

#[test]
fn haproxy_accepts_its_settings_without_warnings() {
    let output = expect_success(
        Command::new("haproxy")
            // Warnings are errors.
            .args(["-dW", "-c", "-f"])
            .arg(path("haproxy.cfg")),
    );
    assert!(output.contains("valid"), "{output}");
}

#[test]
fn the_instance_settings_are_valid_and_distinct() {
    let none = BTreeMap::new();
    for number in ["1", "2"] {
        let file = format!("config/instance-{number}.toml");
        let settings = check_config(&none, &["--config", &file]);
        has(&settings, &format!(r#"id = "gateway-{number}""#));
        has(&settings, &format!(r#"listen = "0.0.0.0:300{number}""#));
        has(&settings, &format!(r#"listen = "0.0.0.0:400{number}""#));
        has(&settings, r#"proxy_protocol = "required""#);
    }
    let url = "mysql://gateway:secret@db.example/vehicle_gateway";
    let environment = BTreeMap::from([("GATEWAY_DATABASE__URL".to_owned(), url.to_owned())]);
    let settings = check_config(&environment, &["--config", "config/instance-1.toml"]);
    has(
        &settings,
        r#"url = "mysql://gateway:***@db.example/vehicle_gateway""#,
    );
}

#[test]
fn compose_yaml_matches_the_compose_specification() {
    expect_success(
        tool("check-jsonschema")
            .args(["--builtin-schema", "vendor.compose-spec"])
            .arg(path("compose.yaml")),
    );
}

#[test]
fn the_compose_environment_is_valid_and_requires_passwords() {
    let compose = compose();
    let environment = compose["services"]["gateway"]["environment"]
        .as_object()
        .unwrap();
    let mut filled = BTreeMap::new();
    for (name, value) in environment {
        let mut value = value.as_str().unwrap().to_owned();
        while let Some(start) = value.find("${") {
            let end = start + value[start..].find('}').unwrap();
            let variable = &value[start + 2..end];
            let (name, refusal) = variable.split_once(":?").unwrap();
            assert!(refusal.contains(".env.example"), "{refusal}");
            assert!(
                text(".env.example").contains(&format!("\n{name}=\n")),
                "{name}"
            );
            value.replace_range(start..=end, "s3cret");
        }
        filled.insert(name.clone(), value);
    }
    let settings = check_config(&filled, &[]);
    has(
        &settings,
        r#"url = "mysql://gateway:***@database:3306/vehicle_gateway""#,
    );
    has(&settings, r#"url = "redis://:***@redis:6379""#);
    has(&settings, r#"proxy_protocol = "required""#);
}

#[test]
fn compose_exposes_only_the_balancer_and_the_api_only_locally() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        let ports = service.get("ports").cloned().unwrap_or_default();
        if name == "haproxy" {
            assert_eq!(
                ports,
                serde_json::json!(["127.0.0.1:3000:3000", "4000:4000"])
            );
        } else {
            assert!(ports.is_null(), "{name}");
        }
        let hardened = service["security_opt"] == serde_json::json!(["no-new-privileges:true"]);
        assert!(hardened, "{name}");
    }
}

#[test]
fn compose_bounds_logs_and_asks_for_no_limit_of_open_files() {
    let compose = compose();
    for (name, service) in compose["services"].as_object().unwrap() {
        let logging = &service["logging"]["options"];
        assert!(logging["max-size"].is_string(), "{name}");
        assert!(logging["max-file"].is_string(), "{name}");
        assert!(service.get("ulimits").is_none(), "{name}");
    }
}

#[test]
fn a_rolling_upgrade_leaves_nothing_for_the_next_up_to_replace() {
    let operations = text("docs/operations.md");
    let up = |line: &&str| line.starts_with("docker compose up");
    assert!(operations.lines().filter(up).count() > 0);
    assert!(
        !operations
            .lines()
            .filter(up)
            .any(|line| line.contains("--no-deps"))
    );
}

#[test]
fn the_image_says_what_it_is() {
    let dockerfile = text("Dockerfile");
    for (key, value) in [
        ("title", env!("CARGO_PKG_NAME")),
        ("description", env!("CARGO_PKG_DESCRIPTION")),
        ("version", env!("CARGO_PKG_VERSION")),
        ("licenses", "MIT OR Apache-2.0"),
    ] {
        let label = format!("org.opencontainers.image.{key}=\"{value}\"");
        assert!(dockerfile.contains(&label), "{label}");
    }
}

#[test]
fn the_systemd_unit_starts_for_ever_and_stops_patiently() {
    let unit = text("config/vehicle-gateway.service");
    has(&unit, "StartLimitIntervalSec=0");
    has(&unit, "Restart=on-failure");
    let settings = check_config(&BTreeMap::new(), &[]);
    let grace = settings
        .lines()
        .find_map(|line| line.strip_prefix("grace = "))
        .unwrap();
    let stop = unit
        .lines()
        .find_map(|line| line.strip_prefix("TimeoutStopSec="))
        .unwrap();
    assert!(stop.parse::<u64>().unwrap() > seconds(grace.trim_matches('"')) + 1);
}

#[cfg(target_os = "linux")]
#[test]
fn systemd_accepts_the_unit_and_finds_it_hardened() {
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("vehicle-gateway.service");
    let here = env!("CARGO_BIN_EXE_vehicle-gateway");
    // It looks for the program.
    let own =
        text("config/vehicle-gateway.service").replace("/usr/local/bin/vehicle-gateway", here);
    fs::write(&unit, own).unwrap();
    let analyze = |arguments: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(arguments)
            .arg(&unit)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status, String::from_utf8(said).unwrap())
    };
    let (status, said) = analyze(&["verify", "--man=no"]);
    assert!(status.success(), "{said}");
    assert!(!said.contains("vehicle-gateway.service:"), "{said}");
    // Tenths: 10 is a service that can do nothing, 100 one that can do everything.
    let (status, said) = analyze(&["security", "--offline=true", "--threshold=15"]);
    assert!(status.success(), "{said}");
}

#[test]
fn compose_and_haproxy_timeouts_exceed_those_of_the_gateway() {
    let compose = compose();
    let gateway = &compose["services"]["gateway"];
    let drain_delay = gateway["environment"]["GATEWAY_SHUTDOWN__DRAIN_DELAY"]
        .as_str()
        .unwrap();
    let stop = gateway["stop_grace_period"].as_str().unwrap();
    let settings = check_config(&BTreeMap::new(), &[]);
    let default = |key: &str| {
        let line = settings
            .lines()
            .find_map(|line| line.strip_prefix(&format!("{key} = ")));
        line.unwrap().trim_matches('"').replace("1m 30s", "90s")
    };
    assert!(seconds(stop) > seconds(drain_delay) + seconds(&default("grace")) + 1);

    let haproxy = text("haproxy.cfg");
    let all = |directive: &str| {
        let values = haproxy
            .lines()
            .filter_map(|line| line.trim().strip_prefix(directive));
        values
            .map(|rest| rest.split_whitespace().next().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    // The checks have connections of their own.
    let (_, http) = settings.split_once("\n[http]\n").unwrap();
    let connections = http
        .lines()
        .find_map(|line| line.strip_prefix("max_connections = "));
    let connections: u64 = connections.unwrap().parse().unwrap();
    let requests: u64 = all("default-server maxconn ")[0].parse().unwrap();
    assert!(requests < connections);
    // HAProxy checks at least once during the drain.
    assert!(seconds(drain_delay) > seconds(&all("default-server inter ")[0]));
    let silence = seconds(&default("silence_timeout"));
    assert!(seconds(&all("timeout client ")[0]) > silence);
    assert!(seconds(&all("timeout server ")[0]) > silence);
    assert!(seconds(&all("timeout tunnel ")[0]) > silence);
    assert!(seconds(&all("timeout client-fin ")[0]) > seconds(&default("commit_timeout")));
    // A request for a command takes up to 60 s longer than others.
    assert!(seconds(&all("timeout server ")[1]) > seconds(&default("request_timeout")) + 60);
}

#[test]
fn the_files_that_the_dockerfile_copies_exist_and_are_not_ignored() {
    let ignored = text(".dockerignore");
    let mut rules = ignored
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    assert_eq!(rules.next(), Some("*"));
    let mut sent: Vec<&str> = rules.map(|rule| rule.strip_prefix('!').unwrap()).collect();
    let dockerfile = text("Dockerfile");
    let instructions = dockerfile
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "));
    let mut copied: Vec<&str> = instructions
        .filter(|copy| !copy.starts_with("--from="))
        .flat_map(|copy| {
            let words: Vec<&str> = copy.split_whitespace().collect();
            words[..words.len() - 1].to_vec()
        })
        .collect();
    for name in &copied {
        assert!(path(name).exists(), "{name}");
    }
    copied.sort_unstable();
    sent.sort_unstable();
    assert_eq!(sent, copied);
}
