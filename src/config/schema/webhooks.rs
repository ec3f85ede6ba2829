//! `[webhooks]`: the configured endpoints, and how messages are delivered.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use figment::value::{Dict, Value};
use serde::{Serialize, Serializer};
use url::Url;

use crate::config::{
    reader::SettingsReader,
    units::{DAY, HOUR, MILLIS_100, as_duration, as_durations, parse_duration},
};

/// The names of the kinds of events that an endpoint can subscribe to.
pub const EVENTS: [&str; 7] = [
    "online",
    "offline",
    "position",
    "battery",
    "running",
    "debug-blob",
    "command",
];

const ENDPOINTS: &str = "a list of tables with url (https, or http; without user, password and fragment), secret (\"whsec_\" and 24 to 64 bytes in base64) and, \
    if not all are wanted, events (of online, offline, position, battery, running, debug-blob, command), devices (their ids), \
    ordered and coalesce (true or false)";

const SCHEDULE: &str =
    "a list of durations that begins with 0s, each up to 7d, such as [\"0s\", \"5s\", \"5m\"]";

/// `[webhooks]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct WebhookSettings {
    /// Whether this instance sends messages. They are stored in any case.
    pub enabled: bool,
    /// The configured endpoints; REST cannot change them.
    pub endpoints: Vec<EndpointSettings>,
    /// Whether endpoints created over REST may have an `http` URL.
    pub allow_http: bool,
    /// Whether endpoints created over REST may be at addresses of this host or of private networks.
    pub allow_private: bool,
    /// The longest time that an endpoint may take to answer.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// The pause before each attempt to send a message. The first is zero; after the last attempt the message fails.
    #[serde(serialize_with = "as_durations")]
    pub retry_schedule: Vec<Duration>,
    /// An endpoint that fails for this long gets the changes of a vehicle's state as one message, once it works again.
    #[serde(serialize_with = "as_duration")]
    pub coalesce_after: Duration,
    /// The most messages that may be pending for one endpoint; the oldest of more expire.
    pub max_pending: usize,
    /// An endpoint that fails for this long is disabled.
    #[serde(serialize_with = "as_duration")]
    pub disable_after: Duration,
    /// The most concurrent requests of this instance to one endpoint, at least 1.
    pub concurrency: usize,
}

/// `[[webhooks.endpoints]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointSettings {
    /// The URL that messages are sent to.
    pub url: WebhookUrl,
    /// The key that signs messages.
    pub secret: WebhookSecret,
    /// The kinds of events that it gets, each one of [`EVENTS`].
    pub events: Vec<String>,
    /// The vehicles whose events it gets; all if the list is empty.
    pub devices: Vec<String>,
    /// Whether a message waits until the one before it, of the same vehicle, is delivered or has failed.
    pub ordered: bool,
    /// Whether changes that were not sent yet are merged into one message.
    pub coalesce: bool,
}

/// The URL of a webhook. Paths and queries of webhooks are often secrets: formatting and serialising it show only
/// scheme, host and port.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookUrl(String);

impl WebhookUrl {
    /// The URL as it is in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn masked(&self) -> String {
        let Ok(url) = Url::parse(&self.0) else {
            return "***".to_owned();
        };
        let origin = url.origin().ascii_serialization();
        if url.path() == "/" && url.query().is_none() {
            format!("{origin}/")
        } else {
            format!("{origin}/***")
        }
    }
}

impl fmt::Debug for WebhookUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.masked(), f)
    }
}

impl Serialize for WebhookUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.masked())
    }
}

/// A webhook secret. Formatting and serialising it never show it.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    /// The secret as it is in the settings.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix("whsec_")?).ok()?;
        (24..=64)
            .contains(&bytes.len())
            .then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for WebhookSecret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl WebhookSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        let settings = Self {
            enabled: reader.switch("webhooks.enabled"),
            endpoints: reader.tables("webhooks.endpoints", ENDPOINTS, parse_endpoint),
            allow_http: reader.switch("webhooks.allow_http"),
            allow_private: reader.switch("webhooks.allow_private"),
            timeout: reader.duration("webhooks.timeout", MILLIS_100..=Duration::from_mins(1)),
            retry_schedule: reader.list("webhooks.retry_schedule", SCHEDULE, |text| {
                parse_duration(text).filter(|pause| *pause <= DAY * 7)
            }),
            coalesce_after: reader.duration("webhooks.coalesce_after", Duration::ZERO..=DAY * 365),
            max_pending: reader.count("webhooks.max_pending", 100..=10_000_000),
            disable_after: reader.duration("webhooks.disable_after", HOUR..=DAY * 365),
            concurrency: reader.count("webhooks.concurrency", 1..=1000),
        };
        let begins_at_once = settings.retry_schedule.first() == Some(&Duration::ZERO);
        reader.together("webhooks.retry_schedule", &[], begins_at_once, SCHEDULE);
        let mut urls: Vec<&str> = settings
            .endpoints
            .iter()
            .map(|it| it.url.as_str())
            .collect();
        urls.sort_unstable();
        urls.dedup();
        reader.together(
            "webhooks.endpoints",
            &[],
            urls.len() == settings.endpoints.len(),
            "each url once",
        );
        settings
    }
}

fn parse_endpoint(table: &Dict) -> Option<EndpointSettings> {
    const KEYS: [&str; 6] = ["url", "secret", "events", "devices", "ordered", "coalesce"];
    if table.keys().any(|key| !KEYS.contains(&key.as_str())) {
        return None;
    }
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    let switch = |key: &str, default| match table.get(key) {
        None => Some(default),
        Some(value) => value.to_bool(),
    };
    let events = texts(table.get("events"), |event| EVENTS.contains(&event))?;
    Some(EndpointSettings {
        url: WebhookUrl(text("url").filter(|url| is_url(url))?.to_owned()),
        secret: WebhookSecret::parse(text("secret")?)?,
        events: if events.is_empty() {
            EVENTS.map(str::to_owned).to_vec()
        } else {
            events
        },
        devices: texts(table.get("devices"), is_device_id)?,
        ordered: switch("ordered", true)?,
        coalesce: switch("coalesce", false)?,
    })
}

fn is_url(text: &str) -> bool {
    let Ok(url) = Url::parse(text) else {
        return false;
    };
    ["https", "http"].contains(&url.scheme())
        && url.username().is_empty()
        && url.password().is_none()
        && url.fragment().is_none()
        && text.len() <= 2048
        && !text.contains(|c: char| c.is_control() || c.is_whitespace())
}

fn is_device_id(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(allowed)
}

/// A list of texts that all pass `is_valid`; an empty list if it is absent.
fn texts(value: Option<&Value>, is_valid: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let Some(value) = value else {
        return Some(Vec::new());
    };
    let items = value.as_array()?.iter();
    items
        .map(|item| {
            item.as_str()
                .filter(|text| is_valid(text))
                .map(str::to_owned)
        })
        .collect()
}
