//! `[http]`: the REST API.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use figment::value::Dict;
use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{HOUR, KIB, MIB, MILLIS_100, as_duration, as_size, printable_name},
};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpSettings {
    /// The address of the listener; port 0 is any free port.
    pub listen: SocketAddr,
    /// Who may use the API.
    pub auth: HttpAuth,
    /// Further names by which the API may be called, beside those of the loopback interface.
    pub hosts: Vec<String>,
    /// The keys of the API.
    pub keys: Vec<KeySettings>,
    /// The path under which a reverse proxy offers the API: empty, or with a `/` at its beginning and none at its end.
    pub base_path: String,
    /// The longest time that a client may take to send the head of a request.
    #[serde(serialize_with = "as_duration")]
    pub header_timeout: Duration,
    /// The most connections at once, at least 1.
    pub max_connections: usize,
    /// The largest request body, in bytes.
    #[serde(serialize_with = "as_size")]
    pub max_body: usize,
    /// The longest time for a request, from its head to the beginning of its response; 60 s more for a request that
    /// waits for a vehicle's answer.
    #[serde(serialize_with = "as_duration")]
    pub request_timeout: Duration,
    /// The certificate of the listener.
    pub tls: HttpTlsSettings,
}

/// `[http.tls]`: both are empty, or neither is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpTlsSettings {
    /// The path of the file of the certificate; empty if the listener speaks HTTP without TLS.
    pub certificate: String,
    /// The path of the file of its private key.
    pub key: String,
}

impl HttpTlsSettings {
    /// Whether the listener speaks HTTPS.
    #[must_use]
    pub fn is_on(&self) -> bool {
        !self.certificate.is_empty()
    }
}

/// The names of the scopes of keys. A test compares them with `Scope`, which this module must not depend on.
pub const SCOPES: [&str; 6] = ["read", "metrics", "ingest", "command", "manage", "keys"];

const KEYS: &str = "a list of tables with name (1 to 64 printable characters, each name once), scopes (of read, metrics, \
                    ingest, command, manage, keys), sha256 (64 hexadecimal digits) and, for a key that ends, expires (such as \
                    2027-01-31T00:00:00Z), as vehicle-gateway keys new prints them";

/// `[[http.keys]]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeySettings {
    /// Its name, for people.
    pub name: String,
    /// What it allows, each one of [`SCOPES`].
    pub scopes: Vec<String>,
    /// The SHA-256 of the key, in hexadecimal.
    pub sha256: String,
    /// From when on it is refused; `None` for never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<jiff::Timestamp>,
}

/// Who may use the API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HttpAuth {
    /// Programs and pages of the own host: the API listens on loopback only.
    #[default]
    Loopback,
    /// Who has a key.
    Required,
    /// Everybody who reaches it.
    Off,
}

impl HttpSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            listen: reader.socket_address("http.listen"),
            auth: reader.choice(
                "http.auth",
                &[
                    ("loopback", HttpAuth::Loopback),
                    ("required", HttpAuth::Required),
                    ("off", HttpAuth::Off),
                ],
            ),
            hosts: reader.list_or_none(
                "http.hosts",
                "a list of host names and IP addresses without ports, such as [\"fleet.example.com\", \"10.0.0.7\"]",
                |text| is_host(text).then(|| text.to_owned()),
            ),
            keys: reader.tables("http.keys", KEYS, parse_key),
            base_path: reader.parsed(
                "http.base_path",
                "\"\", or a path without a / at its end, such as /gateway",
                String::new(),
                |text| is_base_path(text).then(|| text.to_owned()),
            ),
            header_timeout: reader.duration("http.header_timeout", MILLIS_100..=HOUR / 12),
            max_connections: reader.count("http.max_connections", 1..=1_000_000),
            max_body: reader.bytes("http.max_body", KIB..=16 * MIB),
            request_timeout: reader.duration("http.request_timeout", MILLIS_100..=HOUR / 6),
            tls: HttpTlsSettings {
                certificate: reader.file("http.tls.certificate"),
                key: reader.file("http.tls.key"),
            },
        }
    }
}

fn parse_key(table: &Dict) -> Option<KeySettings> {
    let text = |key: &str| table.get(key)?.as_str();
    if table
        .keys()
        .any(|key| !["name", "scopes", "sha256", "expires"].contains(&key.as_str()))
    {
        return None;
    }
    let name = printable_name(text("name")?)?;
    let sha256 = text("sha256")?;
    let is_hash = sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit());
    let scopes = table.get("scopes")?.as_array()?.iter();
    let scopes: Option<Vec<String>> = scopes
        .map(|scope| {
            scope
                .as_str()
                .filter(|scope| SCOPES.contains(scope))
                .map(str::to_owned)
        })
        .collect();
    let scopes = scopes.filter(|scopes| !scopes.is_empty())?;
    let expires = match table.get("expires") {
        Some(expires) => Some(expires.as_str()?.parse().ok()?),
        None => None,
    };
    is_hash.then(|| KeySettings {
        name,
        scopes,
        sha256: sha256.to_ascii_lowercase(),
        expires,
    })
}

/// Whether a text is a host name or an IP address.
fn is_host(text: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    text.parse::<IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_label))
}

/// Whether a text is empty or an absolute path of plain segments.
fn is_base_path(text: &str) -> bool {
    let is_segment = |segment: &str| {
        !["", ".", ".."].contains(&segment)
            && segment
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
    };
    text.is_empty()
        || text
            .strip_prefix('/')
            .is_some_and(|path| path.split('/').all(is_segment))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_a_name_or_an_address_without_a_port() {
        for good in [
            "fleet",
            "fleet.example.com",
            "my_host-1",
            "10.0.0.7",
            "2001:db8::1",
        ] {
            assert!(is_host(good), "{good}");
        }
        for bad in [
            "",
            "fleet:3000",
            "http://fleet",
            "fleet/",
            ".fleet",
            "fleet.",
            "a b",
            "*",
            "[::1]",
            "10.0.0.0/8",
        ] {
            assert!(!is_host(bad), "{bad}");
        }
    }

    #[test]
    fn a_base_path_has_plain_segments_and_no_slash_at_its_end() {
        for good in ["", "/gateway", "/fleet/v1.0_~-"] {
            assert!(is_base_path(good), "{good}");
        }
        for bad in [
            "/",
            "gateway",
            "/gateway/",
            "//gateway",
            "/a//b",
            "/a/../b",
            "/.",
            "/a b",
            "/a?b",
            "/a%2Fb",
            "/\"",
            "https://a/b",
        ] {
            assert!(!is_base_path(bad), "{bad}");
        }
    }
}
