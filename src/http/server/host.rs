//! The header `Host`.

use axum::http::{HeaderMap, Version, header, uri::Authority};

use crate::http::problem::Problem;

const NAME: &str = "Host";

/// Checks that a request names the host that it is for exactly once (RFC 9112, section 3.2). The gateway serves every
/// host alike, but a proxy in front may not: it must not read another host in a request than the gateway does.
pub(super) fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let Some(host) = hosts.next() else {
        return if version <= Version::HTTP_10 {
            Ok(())
        } else {
            Err(Problem::invalid_parameter(
                NAME,
                "is missing, which HTTP/1.1 requires",
            ))
        };
    };
    if hosts.next().is_some() {
        return Err(Problem::invalid_parameter(NAME, "is given more than once"));
    }
    // Empty if the request is for no host in particular.
    let is_valid = host.is_empty()
        || Authority::try_from(host.as_bytes())
            .is_ok_and(|host| !host.as_str().contains('@') && !host.host().is_empty());
    if is_valid {
        Ok(())
    } else {
        Err(Problem::invalid_parameter(
            NAME,
            "must be a host name or an address, and may have a port",
        ))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_request_names_one_host() {
        for (version, hosts, accepted) in [
            (Version::HTTP_11, &["gateway"][..], true),
            (Version::HTTP_11, &["gateway.example:3000"], true),
            (Version::HTTP_11, &["127.0.0.1:3000"], true),
            (Version::HTTP_11, &["[::1]:3000"], true),
            (Version::HTTP_11, &["fleet_gateway"], true),
            (Version::HTTP_11, &[""], true),
            (Version::HTTP_10, &[], true),
            (Version::HTTP_10, &["gateway"], true),
            (Version::HTTP_11, &[], false),
            (Version::HTTP_11, &["gateway", "gateway"], false),
            (Version::HTTP_11, &["gateway", "other"], false),
            (Version::HTTP_10, &["gateway", "other"], false),
            (Version::HTTP_11, &["gateway, other"], false),
            (Version::HTTP_11, &["gateway other"], false),
            (Version::HTTP_11, &["user@gateway"], false),
            (Version::HTTP_11, &["gateway/docs"], false),
            (Version::HTTP_11, &["http://gateway"], false),
            (Version::HTTP_11, &[":3000"], false),
        ] {
            let headers = hosts
                .iter()
                .map(|host| (header::HOST, HeaderValue::from_static(host)))
                .collect();
            assert_eq!(
                check(version, &headers).is_ok(),
                accepted,
                "{version:?} {hosts:?}"
            );
        }
    }
}
