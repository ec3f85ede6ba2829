//! The names by which the gateway may be called.
//!
//! A web page of another host can have its own name resolve to the gateway's address (DNS rebinding). To the browser the
//! gateway is of the page's origin then, and only the name in `Host` tells that it is not.

use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{header, uri::Authority},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::http::problem::{Problem, ProblemKind};

/// The names by which the gateway may be called, in `Host`. Names of the loopback interface always may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostNames(Option<Arc<[String]>>);

impl HostNames {
    /// These names and addresses, without ports, beside those of the loopback interface.
    #[must_use]
    pub fn only(names: &[String]) -> Self {
        Self(Some(
            names.iter().map(|name| name.to_ascii_lowercase()).collect(),
        ))
    }

    /// Any name.
    #[must_use]
    pub fn any() -> Self {
        Self(None)
    }

    /// Whether a host of an authority is among them. IPv6 addresses are in brackets there.
    fn contains(&self, host: &str) -> bool {
        let Some(names) = &self.0 else { return true };
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let bare = bare.unwrap_or(&host);
        is_loopback(bare) || names.iter().any(|name| *name == host || name == bare)
    }
}

/// Whether a name or address is always that of the own host (RFC 6761, section 6.3).
fn is_loopback(host: &str) -> bool {
    let is_address = |address: IpAddr| address.to_canonical().is_loopback();
    host == "localhost" || host.ends_with(".localhost") || host.parse().is_ok_and(is_address)
}

/// Refuses a request that calls the gateway by another name. One without a name passes: no browser sends it.
pub(in crate::http) async fn check_host(
    State(names): State<HostNames>,
    request: Request,
    next: Next,
) -> Response {
    let header = request.headers().get(header::HOST);
    let header = header.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    // The authority of an absolute request target takes precedence over `Host` (RFC 9112, section 3.2.2).
    let called: Option<String> = [request.uri().authority(), header.as_ref()]
        .into_iter()
        .flatten()
        .map(Authority::host)
        .find(|host| !names.contains(host))
        .map(str::to_owned);
    match called {
        None => next.run(request).await,
        Some(host) => Problem::new(ProblemKind::MisdirectedRequest)
            .with_detail(format!(
                "The gateway is not called {host}. If it should be, add the name to http.hosts."
            ))
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_the_listed_ones_are_accepted() {
        let names = HostNames::only(&["Fleet.Example".to_owned(), "2001:db8::1".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST",
            "localhost.",
            "gateway.localhost",
            "127.0.0.1",
            "127.1.2.3",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "fleet.example",
            "FLEET.example.",
            "[2001:db8::1]",
        ] {
            assert!(names.contains(host), "{host}");
        }
        for host in [
            "example",
            "evil.example",
            "fleet.example.evil",
            "notlocalhost",
            "localhost.evil",
            "127.0.0.1.evil",
            "10.0.0.1",
            "0.0.0.0",
            "[2001:db8::2]",
            "[::]",
            "2130706433",
        ] {
            assert!(!names.contains(host), "{host}");
        }
        assert!(HostNames::any().contains("evil.example"));
    }
}
