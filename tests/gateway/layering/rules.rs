//! What the architecture allows: edit it when modules come, go or are renamed.

/// What each top-level module may import of the others.
pub(super) const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("api_model", &["domain"]),
    (
        "app",
        &[
            "cluster",
            "commands",
            "config",
            "device",
            "domain",
            "fanout",
            "http",
            "instance",
            "maintenance",
            "peers",
            "protocol",
            "sessions",
            "signals",
            "store",
            "supervision",
            "telemetry",
            "vehicles",
            "webhooks",
        ],
    ),
    (
        "cluster",
        &[
            "domain", "fanout", "instance", "pacing", "sessions", "store",
        ],
    ),
    (
        "commands",
        &[
            "backoff",
            "cluster",
            "domain",
            "fanout",
            "instance",
            "log_throttle",
            "pacing",
            "sessions",
            "store",
        ],
    ),
    ("backoff", &[]),
    (
        "cli",
        &[
            "app",
            "config",
            "explain",
            "health",
            "http",
            "simulate",
            "supervision",
            "telemetry",
        ],
    ),
    ("config", &[]),
    (
        "device",
        &[
            "backoff",
            "commands",
            "domain",
            "log_throttle",
            "protocol",
            "sessions",
        ],
    ),
    ("domain", &[]),
    ("explain", &["domain", "protocol"]),
    (
        "fanout",
        &["backoff", "domain", "log_throttle", "supervision", "tls"],
    ),
    ("health", &[]),
    (
        "http",
        &[
            "api_model",
            "commands",
            "domain",
            "instance",
            "sessions",
            "telemetry",
            "vehicles",
            "webhooks",
        ],
    ),
    ("instance", &["domain", "fanout", "store"]),
    ("log_throttle", &[]),
    ("main", &["cli"]),
    (
        "maintenance",
        &[
            "cluster",
            "domain",
            "pacing",
            "sessions",
            "steady_time",
            "store",
        ],
    ),
    ("pacing", &[]),
    (
        "peers",
        &[
            "cluster", "commands", "domain", "fanout", "sessions", "store",
        ],
    ),
    ("protocol", &["domain"]),
    ("sessions", &["domain", "pacing", "store"]),
    ("signals", &[]),
    ("simulate", &["backoff", "domain", "protocol", "signals"]),
    ("state", &["domain"]),
    ("steady_time", &["domain"]),
    (
        "store",
        &[
            "backoff",
            "domain",
            "log_throttle",
            "state",
            "steady_time",
            "supervision",
            "webhook_payload",
        ],
    ),
    ("supervision", &["telemetry"]),
    ("telemetry", &["config"]),
    ("tls", &[]),
    ("vehicles", &["domain", "sessions", "store"]),
    ("webhook_payload", &["api_model", "domain"]),
    ("webhooks", &["domain", "state", "store", "tls"]),
];

/// Circles that are still there, by the name that the test prints, with the reason. A circle that is gone must be
/// removed here.
pub(super) const KNOWN_CIRCLES: &[(&str, &str)] = &[];
