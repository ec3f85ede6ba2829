//! Who may import whom.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// What each module of the crate may import of the others.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    (
        "app",
        &[
            "config",
            "device",
            "domain",
            "fanout",
            "http",
            "protocol",
            "registry",
            "service",
            "store",
            "signals",
            "telemetry",
            "webhooks",
        ],
    ),
    ("config", &[]),
    ("device", &["protocol", "service", "domain"]),
    ("domain", &[]),
    ("fanout", &["domain", "tls"]),
    ("health", &[]),
    ("http", &["resource", "service", "domain"]),
    (
        "main",
        &[
            "app",
            "config",
            "health",
            "http",
            "simulate",
            "store",
            "telemetry",
        ],
    ),
    ("protocol", &["domain"]),
    ("registry", &["domain"]),
    ("resource", &["domain"]),
    (
        "service",
        &["domain", "store", "registry", "fanout", "webhooks"],
    ),
    ("signals", &[]),
    ("simulate", &["domain", "protocol", "signals"]),
    ("store", &["domain", "webhook_payload"]),
    ("telemetry", &["config"]),
    ("tls", &[]),
    ("webhook_payload", &["domain", "resource"]),
    ("webhooks", &["domain", "store", "tls"]),
];

fn sources(folder: &Path, into: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path
                .strip_prefix(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))
                .unwrap();
            into.push((
                inside.display().to_string(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

/// The names behind `crate::` (in `main`, behind the crate's name), also within braces.
fn imports(source: &str, root: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (start, _) in source.match_indices(root) {
        let rest = &source[start + root.len()..];
        if let Some(list) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut name = String::new();
            for character in list.chars() {
                match character {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (character.is_alphanumeric() || character == '_') {
                    name.push(character);
                } else if !name.is_empty() {
                    // `domain::{…}` and `domain::X` name the module first.
                    found.insert(std::mem::take(&mut name));
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            let name: String = rest
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.insert(name);
        }
    }
    found.retain(|name| MAY_IMPORT.iter().any(|(module, _)| module == name));
    found
}

#[test]
fn modules_import_only_what_the_architecture_allows() {
    let mut files = Vec::new();
    sources(
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")),
        &mut files,
    );
    // Unit tests put the parts together as they need them.
    files.retain(|(path, _)| !path.ends_with("tests.rs") && !path.contains("/tests/"));
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut checked = BTreeSet::new();
    for (path, source) in files {
        let module = path.split('/').next().unwrap().trim_end_matches(".rs");
        if module == "lib" {
            continue;
        }
        let allowed = allowed.get(module);
        let allowed = allowed.unwrap_or_else(|| panic!("{module} is not in the table"));
        let root = if module == "main" {
            "vehicle_gateway::"
        } else {
            "crate::"
        };
        for import in imports(&source, root) {
            assert!(
                import == module || allowed.contains(&import.as_str()),
                "{module} must not import {import}"
            );
        }
        checked.insert(module.to_owned());
    }
    assert_eq!(checked.len(), MAY_IMPORT.len());
}
