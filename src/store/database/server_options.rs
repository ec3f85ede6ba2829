//! How to connect to a database server: the options of the driver for a URL.

use std::str::FromStr;

use sea_orm::{
    SqlxError,
    sqlx::{ConnectOptions as _, mysql::MySqlConnectOptions, postgres::PgConnectOptions},
};
use url::{Host, Url};

/// The options of the driver for one server.
#[derive(Debug, Clone)]
pub(super) enum ServerOptions {
    MySql(Box<MySqlConnectOptions>),
    Postgres(Box<PgConnectOptions>),
}

impl ServerOptions {
    /// Parses `mysql://`, `mariadb://`, `postgres://` and `postgresql://` URLs.
    pub(super) fn parse(url: &str) -> Result<Self, SqlxError> {
        let ipv6 = ipv6_host(url);
        if url.starts_with("mysql:") || url.starts_with("mariadb:") {
            // The driver would extend the server's default SQL mode, in a syntax that not every mode takes. The session
            // sets a mode of its own: see `server_session`.
            let mut options = MySqlConnectOptions::from_str(url)?
                .pipes_as_concat(false)
                .no_engine_substitution(false)
                .disable_statement_logging();
            if let Some(host) = ipv6 {
                options = options.host(&host);
            }
            Ok(Self::MySql(Box::new(options)))
        } else {
            // A parameter that poolers such as `PgBouncer` refuse, for numbers that the gateway does not store.
            let mut options = PgConnectOptions::from_str(url)?
                .extra_float_digits(None)
                .disable_statement_logging();
            if let Some(host) = ipv6 {
                options = options.host(&host);
            }
            Ok(Self::Postgres(Box::new(options)))
        }
    }
}

/// An IPv6 address as the host, without the brackets, which the driver would look up as part of a name.
fn ipv6_host(url: &str) -> Option<String> {
    match Url::parse(url).ok()?.host() {
        Some(Host::Ipv6(address)) => Some(address.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(url: &str) -> String {
        match ServerOptions::parse(url).unwrap() {
            ServerOptions::MySql(options) => options.get_host().to_owned(),
            ServerOptions::Postgres(options) => options.get_host().to_owned(),
        }
    }

    #[test]
    fn an_ipv6_address_is_a_host_without_its_brackets() {
        for (url, expected) in [
            ("mysql://gateway@[::1]:3306/fleet", "::1"),
            ("mariadb://gateway@[fd00::2]/fleet", "fd00::2"),
            ("postgres://gateway@[::1]:5432/fleet", "::1"),
            ("postgresql://gateway@db.example/fleet", "db.example"),
            ("mysql://gateway@192.0.2.1/fleet", "192.0.2.1"),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
