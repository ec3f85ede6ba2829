//! The settings there are, as plain values, and what each may be.
//!
//! A key is read in exactly one line of a `read` function. Units, reasons and defaults are told in
//! `config/gateway.toml`.

use std::{net::SocketAddr, time::Duration};

use figment::value::Value;
use ipnet::IpNet;
use serde::{Serialize, Serializer};
use tracing_subscriber::filter::{EnvFilter, LevelFilter};

use super::{
    SecretUrl,
    reader::Reader,
    secret_url,
    units::{format_duration, format_size, parse_network},
    webhooks::WebhookSettings,
};

const MILLIS_100: Duration = Duration::from_millis(100);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Every setting, checked: each value is allowed by itself and together with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// This instance among others.
    pub instance: InstanceSettings,
    /// The REST API.
    pub http: HttpSettings,
    /// The port for vehicles.
    pub device: DeviceSettings,
    /// The system of record.
    pub database: DatabaseSettings,
    /// How the system of record is written.
    pub store: StoreSettings,
    /// The way to other instances.
    pub redis: RedisSettings,
    /// Who is there.
    pub presence: PresenceSettings,
    /// What operators ask of vehicles.
    pub commands: CommandSettings,
    /// Who is told what happens.
    pub webhooks: WebhookSettings,
    /// How long history is kept.
    pub retention: RetentionSettings,
    /// The stop.
    pub shutdown: ShutdownSettings,
    /// The log.
    pub log: LogSettings,
}

/// `[instance]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceSettings {
    /// The name of this instance, 1 to 64 printable characters; the host name unless it was set.
    pub id: String,
}

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpSettings {
    /// Where the API listens; port 0 is any free port.
    pub listen: SocketAddr,
    /// The longest a client may take to send the head of a request.
    #[serde(serialize_with = "as_duration")]
    pub header_timeout: Duration,
    /// Connections held at once, at least 1.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    #[serde(serialize_with = "as_size")]
    pub max_body: usize,
    /// The longest a request may take as a whole.
    #[serde(serialize_with = "as_duration")]
    pub request_timeout: Duration,
}

/// `[device]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DeviceSettings {
    /// Where vehicles connect; port 0 is any free port.
    pub listen: SocketAddr,
    /// The longest a connection may stay without a login.
    #[serde(serialize_with = "as_duration")]
    pub login_timeout: Duration,
    /// The longest a vehicle may be silent.
    #[serde(serialize_with = "as_duration")]
    pub silence_timeout: Duration,
    /// The longest a vehicle may take to receive what was written.
    #[serde(serialize_with = "as_duration")]
    pub write_timeout: Duration,
    /// The longest a blob may take to arrive while others wait for the memory that it holds.
    #[serde(serialize_with = "as_duration")]
    pub blob_timeout: Duration,
    /// How long the vehicle may speak first; zero greets at once. Less than `login_timeout`.
    #[serde(serialize_with = "as_duration")]
    pub greeting_delay: Duration,
    /// Connections held at once; 0 is as many as the process may open files for, at most 18,000.
    pub max_connections: usize,
    /// Bad sentences in a row after which the connection is closed, at least 1.
    pub max_bad_sentences: usize,
    /// The longest sentence or JSON object without a blob, in bytes.
    #[serde(serialize_with = "as_size")]
    pub max_sentence: usize,
    /// The largest debug blob, in bytes of the blob itself.
    #[serde(serialize_with = "as_size")]
    pub max_blob: usize,
    /// Bytes all devices together may have buffered above their idle buffers; one blob always fits.
    #[serde(serialize_with = "as_size")]
    pub buffer_budget: usize,
    /// Sentences of one device that may await their commit at once, at least 1.
    pub pipeline: usize,
    /// Whether a balancer tells the address of each device.
    pub proxy_protocol: ProxyProtocol,
    /// The balancers whose word is taken for it, at least 1.
    pub proxy_sources: Vec<IpNet>,
}

/// `[database]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DatabaseSettings {
    /// Where the database is.
    pub url: SecretUrl,
    /// Connections that only read, at least 1.
    pub readers: usize,
}

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StoreSettings {
    /// The longest wait for a commit.
    #[serde(serialize_with = "as_duration")]
    pub commit_timeout: Duration,
    /// Bytes that may wait to be written; two of the largest blobs always fit.
    #[serde(serialize_with = "as_size")]
    pub queue: usize,
    /// How often heartbeats are written.
    #[serde(serialize_with = "as_duration")]
    pub heartbeat_flush: Duration,
}

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RedisSettings {
    /// Where Redis is; none: there are no other instances.
    pub url: SecretUrl,
    /// The channel that all instances hear, and the beginning of the names of their own.
    pub channel: String,
}

/// `[presence]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PresenceSettings {
    /// How long another instance may commit nothing before it is taken for dead.
    #[serde(serialize_with = "as_duration")]
    pub lease: Duration,
    /// How long a vehicle whose instance ended its session may take to come back.
    #[serde(serialize_with = "as_duration")]
    pub offline_grace: Duration,
}

/// `[commands]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CommandSettings {
    /// How long a vehicle's answer is waited for unless the request says.
    #[serde(serialize_with = "as_duration")]
    pub timeout: Duration,
    /// Commands that may wait for one vehicle, at least 1.
    pub queue: usize,
}

/// `[retention]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RetentionSettings {
    /// The age at which a report is removed.
    #[serde(serialize_with = "as_duration")]
    pub reports: Duration,
    /// The age at which a debug blob is removed.
    #[serde(serialize_with = "as_duration")]
    pub debug_blobs: Duration,
    /// The age at which a command is removed.
    #[serde(serialize_with = "as_duration")]
    pub commands: Duration,
    /// The age at which a message of a webhook is removed, delivered or not.
    #[serde(serialize_with = "as_duration")]
    pub webhooks: Duration,
    /// How often something too old is looked for.
    #[serde(serialize_with = "as_duration")]
    pub interval: Duration,
}

/// `[shutdown]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ShutdownSettings {
    /// How long new connections are still accepted once a stop has begun.
    #[serde(serialize_with = "as_duration")]
    pub drain_delay: Duration,
    /// The longest a stop may take before what is left is cut.
    #[serde(serialize_with = "as_duration")]
    pub grace: Duration,
}

/// `[log]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogSettings {
    /// How a record is written.
    pub format: LogFormat,
    /// Which records are written: directives that an [`EnvFilter`] accepts.
    pub filter: String,
}

/// How a log record is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A line for people.
    #[default]
    Human,
    /// A JSON object on a line.
    Json,
}

/// Whether connections of devices begin with a header of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    /// None does: devices connect directly, or the balancer's address is good enough.
    #[default]
    Off,
    /// Each does.
    Required,
}

impl Settings {
    /// The effective settings as TOML that could be a `--config` file, all keys, sorted. Passwords are
    /// `***` and have to be filled in again.
    #[must_use]
    pub fn to_toml_masked(&self) -> String {
        let mut lines = Vec::new();
        let sections = Value::serialize(self).ok().and_then(Value::into_dict);
        for (section, keys) in sections.unwrap_or_default() {
            lines.push(format!("[{section}]"));
            for (key, value) in keys.into_dict().unwrap_or_default() {
                lines.push(format!("{key} = {}", to_toml(&value)));
            }
            lines.push(String::new());
        }
        lines.join("\n")
    }

    /// Reads all settings; what is wrong with them stays in the reader.
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let settings = Self {
            instance: InstanceSettings::read(reader),
            http: HttpSettings::read(reader),
            device: DeviceSettings::read(reader),
            database: DatabaseSettings::read(reader),
            store: StoreSettings::read(reader),
            redis: RedisSettings::read(reader),
            presence: PresenceSettings::read(reader),
            commands: CommandSettings::read(reader),
            webhooks: WebhookSettings::read(reader),
            retention: RetentionSettings::read(reader),
            shutdown: ShutdownSettings::read(reader),
            log: LogSettings::read(reader),
        };
        settings.check_together(reader);
        settings
    }

    fn check_together(&self, reader: &mut Reader<'_>) {
        let (http, device, store) = (&self.http, &self.device, &self.store);
        reader.together(
            "device.listen",
            &["http.listen"],
            device.listen.port() == 0 || device.listen != http.listen,
            "another address or port than http.listen",
        );
        reader.together(
            "device.greeting_delay",
            &["device.login_timeout"],
            device.greeting_delay < device.login_timeout,
            format!(
                "less than device.login_timeout, {}",
                format_duration(device.login_timeout)
            ),
        );
        // In JSON a byte of a blob is up to three digits and a comma; the rest is what stands around it.
        let largest_blob = 4 * device.max_blob as u64 + 64 * KIB;
        reader.together(
            "device.buffer_budget",
            &["device.max_blob"],
            device.buffer_budget as u64 >= largest_blob,
            format!(
                "at least 4 × device.max_blob + 64 KiB, {}",
                format_size(largest_blob)
            ),
        );
        reader.together(
            "redis.url",
            &["database.url"],
            self.redis.url.is_none() || !self.database.url.is_file(),
            "\"\" with a database in a file, which belongs to one instance; several need a database on a server",
        );
        let two_blobs = 2 * device.max_blob as u64;
        reader.together(
            "store.queue",
            &["device.max_blob"],
            store.queue as u64 >= two_blobs,
            format!("at least 2 × device.max_blob, {}", format_size(two_blobs)),
        );
    }
}

impl InstanceSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        let allowed = "1 to 64 printable characters, or \"\" for the host name";
        Self {
            id: reader.parsed("instance.id", allowed, String::new(), |text| {
                if text.is_empty() {
                    name(&gethostname::gethostname().to_string_lossy())
                } else {
                    name(text)
                }
            }),
        }
    }
}

impl HttpSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: reader.socket_address("http.listen"),
            header_timeout: reader.duration("http.header_timeout", MILLIS_100..=HOUR / 12),
            max_connections: reader.count("http.max_connections", 1..=1_000_000),
            max_body: reader.bytes("http.max_body", KIB..=16 * MIB),
            request_timeout: reader.duration("http.request_timeout", MILLIS_100..=HOUR / 6),
        }
    }
}

impl DeviceSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: reader.socket_address("device.listen"),
            login_timeout: reader.duration("device.login_timeout", MILLIS_100..=HOUR),
            silence_timeout: reader.duration("device.silence_timeout", MILLIS_100..=DAY),
            write_timeout: reader.duration("device.write_timeout", MILLIS_100..=HOUR / 6),
            blob_timeout: reader.duration("device.blob_timeout", MILLIS_100..=HOUR),
            greeting_delay: reader.duration(
                "device.greeting_delay",
                Duration::ZERO..=Duration::from_secs(10),
            ),
            max_connections: reader.count("device.max_connections", 0..=10_000_000),
            max_bad_sentences: reader.count("device.max_bad_sentences", 1..=10_000),
            max_sentence: reader.bytes("device.max_sentence", 256..=64 * KIB),
            max_blob: reader.bytes("device.max_blob", KIB..=16 * MIB),
            buffer_budget: reader.bytes("device.buffer_budget", MIB..=64 * GIB),
            pipeline: reader.count("device.pipeline", 1..=1024),
            proxy_protocol: reader.choice(
                "device.proxy_protocol",
                &[
                    ("off", ProxyProtocol::Off),
                    ("required", ProxyProtocol::Required),
                ],
            ),
            proxy_sources: reader.list(
                "device.proxy_sources",
                "a list of IP addresses and networks, such as [\"10.0.0.0/8\", \"192.0.2.7\"]",
                parse_network,
            ),
        }
    }
}

impl DatabaseSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            url: reader.parsed(
                "database.url",
                secret_url::DATABASE,
                SecretUrl::none(),
                SecretUrl::of_database,
            ),
            readers: reader.count("database.readers", 1..=64),
        }
    }
}

impl StoreSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            commit_timeout: reader.duration("store.commit_timeout", MILLIS_100..=HOUR / 12),
            queue: reader.bytes("store.queue", MIB..=16 * GIB),
            heartbeat_flush: reader.duration("store.heartbeat_flush", MILLIS_100..=HOUR / 6),
        }
    }
}

impl RedisSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            url: reader.parsed(
                "redis.url",
                secret_url::REDIS,
                SecretUrl::none(),
                SecretUrl::of_redis,
            ),
            channel: reader.parsed(
                "redis.channel",
                "1 to 64 printable characters",
                String::new(),
                name,
            ),
        }
    }
}

impl PresenceSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            lease: reader.duration("presence.lease", Duration::from_secs(2)..=HOUR / 6),
            offline_grace: reader.duration("presence.offline_grace", Duration::ZERO..=HOUR / 6),
        }
    }
}

impl CommandSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            timeout: reader.duration(
                "commands.timeout",
                Duration::from_secs(1)..=Duration::from_mins(1),
            ),
            queue: reader.count("commands.queue", 1..=1000),
        }
    }
}

impl RetentionSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        // The floor is there for "90s" written for "90d": what it would remove does not come back.
        Self {
            reports: reader.duration("retention.reports", HOUR..=DAY * 3650),
            debug_blobs: reader.duration("retention.debug_blobs", HOUR..=DAY * 3650),
            commands: reader.duration("retention.commands", DAY..=DAY * 3650),
            webhooks: reader.duration("retention.webhooks", HOUR..=DAY * 3650),
            interval: reader.duration("retention.interval", MILLIS_100..=DAY),
        }
    }
}

impl ShutdownSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            drain_delay: reader.duration("shutdown.drain_delay", Duration::ZERO..=HOUR / 6),
            grace: reader.duration("shutdown.grace", Duration::ZERO..=HOUR / 6),
        }
    }
}

impl LogSettings {
    fn read(reader: &mut Reader<'_>) -> Self {
        let allowed = "LEVEL or TARGET=LEVEL, joined by commas";
        Self {
            format: reader.choice(
                "log.format",
                &[("human", LogFormat::Human), ("json", LogFormat::Json)],
            ),
            filter: reader.parsed("log.filter", allowed, String::new(), filter),
        }
    }
}

/// A value on one line.
fn to_toml(value: &Value) -> String {
    match value {
        Value::Array(_, items) => {
            let items: Vec<_> = items.iter().map(to_toml).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Dict(_, keys) => {
            let keys = keys.iter();
            let pairs: Vec<_> = keys
                .map(|(key, value)| format!("{key} = {}", to_toml(value)))
                .collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        // JSON writes text and numbers as TOML does.
        single => serde_json::to_string(single).unwrap_or_default(),
    }
}

/// A name to show in logs and lists.
fn name(text: &str) -> Option<String> {
    let printable = |c: char| !c.is_control() && c != char::REPLACEMENT_CHARACTER;
    let fits = (1..=64).contains(&text.chars().count());
    (fits && text.trim() == text && text.chars().all(printable)).then(|| text.to_owned())
}

/// Filter directives. A bare word is a level and nothing else: `EnvFilter` takes any other word for a
/// target, so that "inof" would silence the whole gateway.
fn filter(text: &str) -> Option<String> {
    let is_level = |word: &str| !word.is_empty() && word.parse::<LevelFilter>().is_ok();
    let bare_words_are_levels = text
        .split(',')
        .all(|directive| directive.contains(['=', '[']) || is_level(directive));
    (bare_words_are_levels && EnvFilter::try_new(text).is_ok()).then(|| text.to_owned())
}

pub(super) fn as_duration<S: Serializer>(
    duration: &Duration,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_duration(*duration))
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn as_size<S: Serializer>(bytes: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&format_size(*bytes as u64))
}
