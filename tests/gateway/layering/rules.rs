//! What the architecture allows: edit it when modules come, go or are renamed.

/// What each top-level module may import of the others.
pub(super) const MAY_IMPORT: &[(&str, &[&str])] = &[
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
            "signals",
            "store",
            "telemetry",
            "webhooks",
        ],
    ),
    ("config", &[]),
    ("device", &["domain", "protocol", "service"]),
    ("domain", &[]),
    ("fanout", &["domain", "tls"]),
    ("health", &[]),
    ("http", &["domain", "resource", "service"]),
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
        &["domain", "fanout", "registry", "store", "webhooks"],
    ),
    ("signals", &[]),
    ("simulate", &["domain", "protocol", "signals"]),
    ("store", &["domain", "webhook_payload"]),
    ("telemetry", &["config"]),
    ("tls", &[]),
    ("webhook_payload", &["domain", "resource"]),
    ("webhooks", &["domain", "store", "tls"]),
];

/// Circles that are still there, by the name that the test prints, with the reason. A circle that is gone must be removed here.
pub(super) const KNOWN_CIRCLES: &[(&str, &str)] = &[
    (
        "config::{layers, reader}",
        "to cut: the description of a mistake and the merged layers belong into files of their own",
    ),
    (
        "config::{settings, webhooks}",
        "to cut: the conversion of durations belongs into the units",
    ),
    (
        "http::{describe, problem, wire}",
        "to cut: examples and problem kinds belong into files of their own",
    ),
    (
        "service::commands::{elsewhere, journey}",
        "to cut: local and remote delivery should share a file that knows neither",
    ),
    (
        "store::{batch, database, fold, intent, purge, webhooks, writer}",
        "to cut: write requests and rules leave the folders of batching and SQL",
    ),
    (
        "webhooks::{lookup, target}",
        "to cut: the errors of an address belong into a file of their own",
    ),
    (
        "webhooks::{sender, tls}",
        "to cut: the error of the client belongs to the client",
    ),
];
