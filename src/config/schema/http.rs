//! `[http]`: the REST API.

use std::{net::SocketAddr, time::Duration};

use serde::Serialize;

use crate::config::{
    reader::SettingsReader,
    units::{HOUR, KIB, MIB, MILLIS_100, as_duration, as_size},
};

/// `[http]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpSettings {
    /// The address of the listener; port 0 is any free port.
    pub listen: SocketAddr,
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
}

impl HttpSettings {
    pub(super) fn read(reader: &mut SettingsReader<'_>) -> Self {
        Self {
            listen: reader.socket_address("http.listen"),
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
        }
    }
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
