//! The embedded file, the schema and the documentation agree.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use figment::{
    providers::{Format, Toml},
    value::{Dict, Value},
};

use super::sources;
use crate::config::{
    ConfigProblem, DeviceSettings, DeviceTlsSettings, LogFormat, ProxyProtocol, layers,
};

const PAGE: &str = include_str!("../../../docs/configuration.md");

/// The keys of the embedded file with their defaults as text.
pub(super) fn defaults() -> BTreeMap<String, String> {
    let mut defaults = BTreeMap::new();
    let mut section = "";
    for line in layers::DEFAULTS.lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let (false, Some((key, value))) = (line.starts_with('#'), line.split_once(" = "))
        {
            defaults.insert(format!("{section}.{key}"), value.to_owned());
        }
    }
    defaults
}

/// The allowed values of each setting in words: from the problems of a control character, which no setting accepts.
fn allowed() -> BTreeMap<String, String> {
    let mut sources = sources();
    for key in defaults().keys() {
        sources = sources.set(&format!("{key}=\u{1}"));
    }
    let problems = sources.problems();
    let value = |problem: &ConfigProblem| match problem {
        ConfigProblem::Value { key, allowed, .. } => (key.clone(), allowed.clone()),
        other => unreachable!("{other}"),
    };
    problems.as_slice().iter().map(value).collect()
}

#[test]
fn the_embedded_defaults_are_valid() {
    let settings = sources().settings();
    assert_eq!(
        settings.http.listen,
        SocketAddr::from(([127, 0, 0, 1], 3000))
    );
    assert_eq!(settings.http.max_body, 65_536);
    assert_eq!(
        settings.device,
        DeviceSettings {
            listen: SocketAddr::from(([127, 0, 0, 1], 4000)),
            login_timeout: Duration::from_mins(1),
            silence_timeout: Duration::from_secs(90),
            blob_timeout: Duration::from_mins(1),
            write_timeout: Duration::from_secs(10),
            greeting_delay: Duration::from_millis(200),
            max_connections: 0,
            max_bad_sentences: 20,
            max_sentence: 4_096,
            max_blob: 1_048_576,
            buffer_budget: 67_108_864,
            pipeline: 64,
            proxy_protocol: ProxyProtocol::Off,
            proxy_sources: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            tls: DeviceTlsSettings {
                listen: None,
                certificate: String::new(),
                key: String::new(),
                client_ca: String::new(),
                client_crl: String::new(),
                require_client_certificate: false,
            },
        }
    );
    assert_eq!(
        settings.database.url.as_str(),
        "sqlite://vehicle-gateway.db"
    );
    assert_eq!(settings.retention.reports, Duration::from_hours(24 * 90));
    assert_eq!(settings.log.format, LogFormat::Human);
}

#[test]
fn the_schema_has_the_keys_of_the_embedded_file() {
    let in_file: Dict = <Toml as Format>::from_str(layers::DEFAULTS).unwrap();
    let mut keys = BTreeSet::new();
    for (section, inner) in in_file {
        collect_keys(&section, inner, &mut keys);
    }
    let in_file: Vec<_> = keys.into_iter().collect();
    // A key that is read but not in the file would be a problem of the defaults, see above;
    // a key that is in the file but not read would refuse nothing.
    assert_eq!(in_file, allowed().into_keys().collect::<Vec<_>>());
    assert_eq!(in_file, defaults().into_keys().collect::<Vec<_>>());
}

/// Collects the settings below `path`, which is a setting itself if it is no table.
fn collect_keys(path: &str, value: Value, keys: &mut BTreeSet<String>) {
    if let Value::Dict(_, inner) = value {
        for (name, value) in inner {
            collect_keys(&format!("{path}.{name}"), value, keys);
        }
    } else {
        keys.insert(path.to_owned());
    }
}

#[test]
fn keys_that_deployments_rely_on_exist() {
    let defaults = defaults();
    for key in [
        "instance.id",
        "http.listen",
        "device.listen",
        "device.login_timeout",
        "device.silence_timeout",
        "device.greeting_delay",
        "device.max_connections",
        "device.proxy_protocol",
        "database.url",
        "redis.url",
        "redis.channel",
        "commands.timeout",
        "presence.lease",
        "presence.offline_grace",
        "webhooks.endpoints",
        "webhooks.allow_http",
        "webhooks.allow_private",
        "webhooks.retry_schedule",
        "retention.reports",
        "shutdown.grace",
        "log.format",
        "log.filter",
    ] {
        assert!(defaults.contains_key(key), "{key}");
    }
}

#[test]
fn every_key_has_a_comment_with_allowed_values_and_a_reason() {
    let allowed = allowed();
    let mut section = "";
    let mut comment = String::new();
    for line in layers::DEFAULTS.lines() {
        if let Some(text) = line.strip_prefix('#') {
            comment.push_str(text);
        } else if line.is_empty() {
            comment.clear();
        } else if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']');
        } else if let Some((key, _)) = line.split_once(" = ") {
            let key = format!("{section}.{key}");
            let allowed = format!(" Allowed: {}", allowed[&key]);
            assert!(comment.contains(&allowed), "{key}:{allowed}");
            assert!(comment.contains(" Default: "), "{key}");
        }
    }
}

#[test]
fn the_documentation_lists_every_key_with_default_and_allowed_values() {
    let rows: BTreeMap<_, Vec<_>> = PAGE
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|row| row.split_once("` | "))
        .map(|(key, row)| (key.to_owned(), row.split(" | ").collect()))
        .collect();
    let (defaults, allowed) = (defaults(), allowed());
    for (key, default) in &defaults {
        assert!(rows.contains_key(key), "{key} is not in the table");
        let row = &rows[key];
        assert_eq!(row[0], format!("`{default}`"), "{key}");
        assert!(row[1].starts_with(&allowed[key]), "{key}: {}", allowed[key]);
    }
    assert_eq!(rows.len(), defaults.len(), "the table has unknown keys");
}
