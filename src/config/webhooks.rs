//! `[webhooks]`: where the fleet's software is told what happens.

use std::{fmt, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD};
use figment::value::{Dict, Value};
use serde::{Serialize, Serializer};
use url::Url;

use super::{
    reader::Reader,
    settings::as_duration,
    units::{format_duration, parse_duration},
};

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What an endpoint can ask to be told of.
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
    /// Endpoints that are there whatever was made over REST.
    pub endpoints: Vec<EndpointSettings>,
    /// Whether endpoints that are made over REST may be `http`.
    pub allow_http: bool,
    /// Whether endpoints that are made over REST may be in this network.
    pub allow_private: bool,
    /// The longest an endpoint may take to answer.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// When a message is sent: after each of these times, until it is delivered. The first is zero.
    #[serde(serialize_with = "as_durations")]
    pub retry_schedule: Vec<Duration>,
    /// An endpoint that fails for so long is disabled.
    #[serde(serialize_with = "as_duration")]
    pub disable_after: Duration,
    /// Messages on their way to one endpoint at once, at least 1.
    pub concurrency: usize,
}

/// `[[webhooks.endpoints]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EndpointSettings {
    /// Where messages go.
    pub url: String,
    /// Signs them.
    pub secret: SecretSetting,
    /// What it is told of, each one of [`EVENTS`].
    pub events: Vec<String>,
    /// Of which vehicles; none: of all.
    pub devices: Vec<String>,
    /// Whether messages of one vehicle wait for one another.
    pub ordered: bool,
    /// Whether changes that were not sent yet become one message.
    pub coalesce: bool,
}

/// A secret. Whatever displays, logs or serialises it shows none.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretSetting(String);

impl SecretSetting {
    /// The secret as it was set.
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

impl fmt::Debug for SecretSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for SecretSetting {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}

impl WebhookSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            endpoints: reader.tables("webhooks.endpoints", ENDPOINTS, endpoint),
            allow_http: reader.switch("webhooks.allow_http"),
            allow_private: reader.switch("webhooks.allow_private"),
            timeout: reader.duration(
                "webhooks.timeout",
                Duration::from_millis(100)..=Duration::from_mins(1),
            ),
            retry_schedule: reader.list("webhooks.retry_schedule", SCHEDULE, |text| {
                parse_duration(text).filter(|pause| *pause <= DAY * 7)
            }),
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

fn endpoint(table: &Dict) -> Option<EndpointSettings> {
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
        url: text("url").filter(|url| is_url(url))?.to_owned(),
        secret: SecretSetting::parse(text("secret")?)?,
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

/// A list of texts that are all right; none if it is absent.
fn texts(value: Option<&Value>, is_right: impl Fn(&str) -> bool) -> Option<Vec<String>> {
    let Some(value) = value else {
        return Some(Vec::new());
    };
    let items = value.as_array()?.iter();
    items
        .map(|item| {
            item.as_str()
                .filter(|text| is_right(text))
                .map(str::to_owned)
        })
        .collect()
}

fn as_durations<S: Serializer>(durations: &[Duration], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(durations.iter().map(|duration| format_duration(*duration)))
}
