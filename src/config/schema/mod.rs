//! The schema of the settings: one file for each section, with its fields, their types and their bounds.
//!
//! A key is read in exactly one line of a `read` function. The default of each key, and the reason for it, is in
//! `config/gateway.toml`.

mod commands;
mod database;
mod device;
mod http;
mod instance;
mod log;
mod presence;
mod redis;
mod retention;
mod shutdown;
mod store;
mod webhooks;

use std::collections::BTreeSet;

use figment::value::Value;
use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{KIB, format_duration, format_size},
};

pub use self::{
    commands::CommandSettings,
    database::DatabaseSettings,
    device::{DeviceSettings, DeviceTlsSettings, ProxyProtocol},
    http::{HttpAuth, HttpSettings, HttpTlsSettings, KeySettings, SCOPES},
    instance::InstanceSettings,
    log::{LogFormat, LogSettings},
    presence::PresenceSettings,
    redis::RedisSettings,
    retention::RetentionSettings,
    shutdown::ShutdownSettings,
    store::StoreSettings,
    webhooks::{EVENTS, EndpointSettings, WebhookSecret, WebhookSettings, WebhookUrl},
};

/// Every setting. Each value is allowed by itself and together with the others.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Settings {
    /// The name of this instance.
    pub instance: InstanceSettings,
    /// The REST API.
    pub http: HttpSettings,
    /// The port for vehicles.
    pub device: DeviceSettings,
    /// The system of record.
    pub database: DatabaseSettings,
    /// How the gateway writes to the database.
    pub store: StoreSettings,
    /// The fan-out between instances.
    pub redis: RedisSettings,
    /// When instances count as dead, and vehicles as offline.
    pub presence: PresenceSettings,
    /// Commands to vehicles.
    pub commands: CommandSettings,
    /// Webhooks.
    pub webhooks: WebhookSettings,
    /// How long history is kept.
    pub retention: RetentionSettings,
    /// How the process stops.
    pub shutdown: ShutdownSettings,
    /// Log records.
    pub log: LogSettings,
}

impl Settings {
    /// The effective settings as the text of a `--config` file: all keys, sorted, with `***` in place of secrets.
    #[must_use]
    pub fn to_toml_masked(&self) -> String {
        let mut lines = Vec::new();
        let sections = Value::serialize(self).ok().and_then(Value::into_dict);
        for (section, keys) in sections.unwrap_or_default() {
            push_section(&section, keys, &mut lines);
        }
        lines.join("\n")
    }

    /// Reads all settings. Invalid values become problems in the reader.
    pub(in crate::config) fn read(reader: &mut SettingsReader<'_>) -> Self {
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

    fn check_together(&self, reader: &mut SettingsReader<'_>) {
        let (http, device, store) = (&self.http, &self.device, &self.store);
        reader.together(
            "device.listen",
            &["http.listen"],
            device.listen.port() == 0 || device.listen != http.listen,
            "another address or port than http.listen",
        );
        for (other, address) in [
            ("device.listen", device.listen),
            ("http.listen", http.listen),
        ] {
            reader.together(
                "device.tls.listen",
                &[other],
                address.port() == 0 || device.tls.listen != Some(address),
                format!("another address or port than {other}"),
            );
        }
        device.tls.check_together(reader);
        reader.together(
            "http.listen",
            &["http.auth"],
            http.auth != HttpAuth::Loopback || http.listen.ip().to_canonical().is_loopback(),
            "an address of the loopback interface as long as http.auth is \"loopback\": every client of another address \
             could command every vehicle; set http.auth to \"required\" and make a key (vehicle-gateway keys new), or to \"off\" \
             if something in front keeps strangers out",
        );
        let distinct = |of: fn(&KeySettings) -> &str| {
            let all: BTreeSet<&str> = http.keys.iter().map(of).collect();
            all.len() == http.keys.len()
        };
        reader.together(
            "http.keys",
            &[],
            distinct(|key| &key.name) && distinct(|key| &key.sha256),
            "keys whose names and hashes are all different",
        );
        reader.together_or_none(
            ("http.tls.certificate", &http.tls.certificate),
            ("http.tls.key", &http.tls.key),
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
        // In JSON a byte of a blob is up to three digits and a comma; 64 KiB are for the rest of the object.
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

/// Pushes the lines of a section, and those of the sections in it behind them.
fn push_section(section: &str, keys: Value, lines: &mut Vec<String>) {
    lines.push(format!("[{section}]"));
    let mut inner = Vec::new();
    for (key, value) in keys.into_dict().unwrap_or_default() {
        if let Value::Dict(..) = value {
            push_section(&format!("{section}.{key}"), value, &mut inner);
        } else {
            lines.push(format!("{key} = {}", to_toml(&value)));
        }
    }
    lines.push(String::new());
    lines.append(&mut inner);
}

/// The value as TOML on one line.
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
