//! URL policy: which URLs endpoints may have.

use std::{fmt, net::IpAddr, ops::RangeInclusive, time::Duration};

use hyper::Uri;
use tokio::time::timeout;
use url::{Host, ParseError, Url};

use super::{
    ip_policy,
    resolver::{ForbiddenName, ResolveError, Resolver},
};

/// The longest URL, in bytes: more than receivers need, and what the column holds.
const MAX_BYTES: usize = 2048;
/// The ports that endpoints may have beside those of HTTP and HTTPS: ports below are those of other services, such as
/// SSH and mail, which could take a message for something that they understand.
const UNRESERVED_PORTS: RangeInclusive<u16> = 1024..=u16::MAX;
/// How long the creation of an endpoint waits for the name server.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is allowed in the URL of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UrlPolicy {
    /// Whether `http` is allowed too, which anyone on the network path can read.
    pub allow_http: bool,
    /// Whether addresses that are not public are allowed too, see [`is_allowed`](super::is_allowed).
    pub allow_private: bool,
    /// Whether ports below 1024 other than 443 and 80 are allowed too.
    pub allow_any_port: bool,
}

impl UrlPolicy {
    /// The policy for endpoints of the settings: their author can reach everything that the gateway reaches.
    pub const TRUSTED: Self = Self {
        allow_http: true,
        allow_private: true,
        allow_any_port: true,
    };

    /// Checks a URL, without resolving its host.
    pub fn check(self, url: &str) -> Result<AllowedUrl, UrlPolicyError> {
        if url.len() > MAX_BYTES {
            return Err(UrlPolicyError::TooLong);
        }
        // From here on only the parsed URL counts, so that the host that is checked is the host that is requested.
        let url = Url::parse(url).map_err(UrlPolicyError::NoUrl)?;
        match url.scheme() {
            "https" => {}
            "http" if self.allow_http => {}
            "http" => return Err(UrlPolicyError::Http),
            other => return Err(UrlPolicyError::Scheme(other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(UrlPolicyError::UserInfo);
        }
        match url.port_or_known_default() {
            Some(443 | 80) => {}
            Some(port) if UNRESERVED_PORTS.contains(&port) => {}
            Some(1..) if self.allow_any_port => {}
            port => return Err(UrlPolicyError::Port(port.unwrap_or_default())),
        }
        if url.fragment().is_some() {
            return Err(UrlPolicyError::Fragment);
        }
        // The parser has escaped characters, which makes the URL longer, and it accepts more than HTTP does.
        if url.as_str().len() > MAX_BYTES {
            return Err(UrlPolicyError::TooLong);
        }
        if url.as_str().parse::<Uri>().is_err() {
            return Err(UrlPolicyError::NoUri);
        }
        let allowed = AllowedUrl { url, policy: self };
        if let Some(address) = allowed.address() {
            allowed.check_address(address)?;
        }
        Ok(allowed)
    }
}

/// A URL that the policy allows. If its host is a name, the addresses of the name are checked by
/// [`check_host`](Self::check_host), and again by the HTTP client when it connects.
#[derive(Clone, PartialEq, Eq)]
pub struct AllowedUrl {
    url: Url,
    policy: UrlPolicy,
}

/// A URL is not allowed. The text does not repeat the URL, because paths and queries of webhooks are often secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UrlPolicyError {
    /// The text is not a URL.
    #[error("not a URL: {0}")]
    NoUrl(ParseError),
    /// It is a URL, but not a URI that HTTP can request.
    #[error("not a URL that HTTP can ask for")]
    NoUri,
    /// It is too long.
    #[error("a URL has at most {MAX_BYTES} bytes")]
    TooLong,
    /// The scheme is neither `https` nor `http`.
    #[error("webhooks go to https, not to {0}")]
    Scheme(String),
    /// The policy does not allow `http`.
    #[error("webhooks go to https; http is possible only where webhooks.allow_http is true")]
    Http,
    /// It holds credentials, which would be shown wherever the URL is shown.
    #[error("a URL of a webhook holds no user or password: messages are known by their signature")]
    UserInfo,
    /// Its port is one of another service.
    #[error("webhooks go to port 443, 80, or 1024 and above, not to port {0}")]
    Port(u16),
    /// It holds a fragment, which is not sent.
    #[error("a URL of a webhook holds no fragment (what follows \"#\"): it would not be sent")]
    Fragment,
    /// Its host is an address that is not public, of this kind.
    #[error("the host is {0}, which webhooks must not reach")]
    Address(&'static str),
    /// Its host is a name that resolves only to addresses that are not public.
    #[error(transparent)]
    Name(#[from] ForbiddenName),
}

impl AllowedUrl {
    /// Checks that a name in the URL resolves to an address that webhooks may reach. A name that does not resolve is
    /// accepted: the receiver may come later, and every delivery resolves it again.
    pub async fn check_host(&self, resolver: &Resolver) -> Result<(), UrlPolicyError> {
        let Some(Host::Domain(name)) = self.url.host() else {
            return Ok(());
        };
        let addresses = resolver.addresses(name, self.policy.allow_private);
        match timeout(RESOLVE_TIMEOUT, addresses).await {
            Ok(Err(ResolveError::Forbidden(error))) => Err(error.into()),
            Ok(Ok(_) | Err(ResolveError::Unresolved(_))) | Err(_) => Ok(()),
        }
    }

    /// The normalized URL: that of `http://0x7f.1` is `http://127.0.0.1/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The address in the URL, if its host is no name. It is not resolved, so the resolver does not check it.
    fn address(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    fn check_address(&self, address: IpAddr) -> Result<(), UrlPolicyError> {
        match ip_policy::forbidden(address) {
            Some(kind) if !self.policy.allow_private => Err(UrlPolicyError::Address(kind)),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for AllowedUrl {
    /// Leaves out path and query, which are often secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "AllowedUrl({}/…)",
            self.url.origin().ascii_serialization()
        )
    }
}

#[cfg(test)]
#[path = "url_policy_tests.rs"]
mod tests;
