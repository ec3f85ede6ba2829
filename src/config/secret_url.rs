//! URLs of the database and of Redis, whose passwords never reach a log.

use std::{borrow::Cow, fmt, net::IpAddr};

use serde::{Serialize, Serializer};

use super::units::mask;

/// A URL that may hold a password. Formatting and serialising it mask the password.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(String);

/// The URLs that [`SecretUrl::parse_database`] accepts, in words.
pub(super) const DATABASE: &str = "sqlite://PATH of a file (no \"?\" or \"%\"), \
    mysql://USER:PASSWORD@HOST:PORT/DATABASE (or mariadb://) or postgres://USER:PASSWORD@HOST:PORT/DATABASE";

/// The parameters behind the `?` of a database URL that the driver understands. It ignores others, so that a misspelt
/// one would leave a connection without TLS.
const MYSQL_PARAMETERS: &[&str] = &[
    "ssl-mode", "sslmode", "ssl-ca", "sslca", "ssl-cert", "sslcert", "ssl-key", "sslkey", "socket",
];
const POSTGRES_PARAMETERS: &[&str] = &[
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "ssl-root-cert",
    "ssl-ca",
    "sslcert",
    "ssl-cert",
    "sslkey",
    "ssl-key",
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "application_name",
    "options",
];
/// A parameter that is this far from a known one is taken for a misspelling.
const MAX_TYPOS: usize = 3;

/// The URLs that [`SecretUrl::parse_redis`] accepts, in words.
pub(super) const REDIS: &str = "redis://USER:PASSWORD@HOST:PORT, with rediss for TLS, -sentinel or -cluster behind \
    the scheme if it is one, or \"\" for none";

const SQLITE: &str = "sqlite://";

impl SecretUrl {
    /// The empty URL: the placeholder for an invalid one, and "no Redis".
    pub(super) fn none() -> Self {
        Self(String::new())
    }

    /// Whether the URL is empty.
    #[must_use]
    pub fn is_none(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the URL is that of an `SQLite` file.
    #[must_use]
    pub fn is_file(&self) -> bool {
        self.0.starts_with(SQLITE)
    }

    /// Parses the URL of a Redis server, sentinel or cluster, or the empty text.
    pub(super) fn parse_redis(text: &str) -> Option<Self> {
        const KINDS: [&str; 3] = ["", "-sentinel", "-cluster"];
        if text.is_empty() {
            return Some(Self::none());
        }
        let (scheme, rest) = text.split_once("://")?;
        let plain = scheme.strip_prefix("redis")?;
        let kind = plain.strip_prefix('s').unwrap_or(plain);
        let authority = rest.split(['?', '#']).next().unwrap_or_default();
        let host = authority.rsplit('@').next().unwrap_or_default();
        let named = !host.is_empty() && !host.starts_with([':', '/']);
        (KINDS.contains(&kind) && named).then(|| Self(text.to_owned()))
    }

    /// Parses the URL of a database: `sqlite://` and the path of a file, or that of a server. `sqlite:PATH` and
    /// `?mode=rwc`, which other programs want, mean the same.
    pub(super) fn parse_database(text: &str) -> Option<Self> {
        let Some(path) = text.strip_prefix("sqlite:") else {
            return is_server(text).then(|| Self(text.to_owned()));
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        let path = path.strip_suffix("?mode=rwc").unwrap_or(path);
        // A database in memory is not durable. "file:" would be read as a URI, which could ask for one, too.
        let file = !path.is_empty()
            && !path.ends_with('/')
            && !path.starts_with(':')
            && !path.starts_with("file:");
        // Drivers decode "%" and take options after "?", so that two of them could open two files for one URL.
        let plain = !path.contains(['?', '%']);
        (file && plain).then(|| Self(format!("{SQLITE}{path}")))
    }

    /// A parameter of the URL of a database server that the driver does not know, with what is known; `None` if there
    /// is none.
    pub(super) fn unknown_parameter(&self) -> Option<String> {
        let known = match self.0.split_once("://")?.0 {
            "mysql" | "mariadb" => MYSQL_PARAMETERS,
            "postgres" | "postgresql" => POSTGRES_PARAMETERS,
            _ => return None,
        };
        let query = self.0.split_once('?')?.1;
        let names = query
            .split('&')
            .map(|pair| pair.split('=').next().unwrap_or(pair));
        let unknown = names
            .filter(|name| !known.contains(name) && !name.starts_with("options["))
            .find(|name| !name.is_empty())?;
        let nearest = known
            .iter()
            .map(|known| (strsim::damerau_levenshtein(unknown, known), known))
            .min()
            .filter(|(typos, _)| *typos <= MAX_TYPOS.min(unknown.len() / 2))
            .map(|(_, known)| format!("did you mean {known}?"));
        // `tls=true` and the like: all of them are about TLS.
        let hint = nearest.unwrap_or_else(|| format!("for TLS: {}=…", known[0]));
        Some(format!(
            "the parameters {}, and not {unknown}; {hint}",
            known.join(", ")
        ))
    }

    /// Whether a server that the URL names is on another host and the driver does not verify its certificate, so that
    /// an attacker who answers in its place gets the password.
    #[must_use]
    pub fn is_unverified(&self) -> bool {
        let Some((scheme, rest)) = self.0.split_once("://") else {
            return false;
        };
        let is_redis = scheme.starts_with("redis");
        let address = rest.split(['?', '#']).next().unwrap_or_default();
        let authority = match address.rsplit_once('/') {
            Some((authority, _)) if !is_redis => authority,
            _ => address,
        };
        let mut hosts = vec![Cow::from(authority.rsplit('@').next().unwrap_or_default())];
        let mut is_verified = scheme.starts_with("rediss");
        let query = rest.split_once('?').map_or("", |(_, query)| query);
        for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
            match &*name {
                // The driver takes the last one.
                "sslmode" | "ssl-mode" if !is_redis => {
                    is_verified = value.to_ascii_lowercase().starts_with("verify");
                }
                // The driver connects there instead of to the host of the URL.
                "host" | "hostaddr" | "socket" if !is_redis => hosts = vec![value],
                "node" if is_redis => hosts.push(value),
                _ => {}
            }
        }
        !self.is_file() && !is_verified && !hosts.iter().all(|host| is_local(host))
    }

    /// The URL with its password, for the driver. Not for logs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether the URL names a server and a database on it.
fn is_server(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let address = rest.split(['?', '#']).next().unwrap_or_default();
    // A password may hold a slash or an @; a host and the name of a database hold neither.
    let Some((authority, database)) = address.rsplit_once('/') else {
        return false;
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    ["mysql", "mariadb", "postgres", "postgresql"].contains(&scheme)
        && !host.is_empty()
        && !host.starts_with(':')
        && !database.is_empty()
}

/// Whether a host, with or without a port, is this one, or the path of a Unix socket.
fn is_local(host: &str) -> bool {
    let is_socket = host.starts_with('/') || host.to_ascii_lowercase().starts_with("%2f");
    let name = match host.strip_prefix('[') {
        Some(bracketed) => bracketed.split(']').next().unwrap_or_default(),
        None if host.parse::<IpAddr>().is_ok() => host,
        // A port, and of Redis the number of a database.
        None => host.split([':', '/']).next().unwrap_or_default(),
    };
    is_socket
        || name.eq_ignore_ascii_case("localhost")
        || name
            .parse::<IpAddr>()
            .is_ok_and(|address| address.to_canonical().is_loopback())
}

impl fmt::Display for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&mask(&self.0))
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*mask(&self.0), f)
    }
}

impl Serialize for SecretUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
