//! Where a webhook may go.

use std::{fmt, net::IpAddr, time::Duration};

use hyper::Uri;
use tokio::time::timeout;
use url::{Host, ParseError, Url};

use super::{
    addresses,
    lookup::{Lookup, Unreachable},
};

/// More than any receiver asks for, and what a column and a page can hold.
const LONGEST: usize = 2048;
/// How long whoever makes an endpoint waits for the name server.
const PATIENCE: Duration = Duration::from_secs(5);

/// What an endpoint's URL may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// Also `http`, by which everybody on the way reads what is sent.
    pub allow_http: bool,
    /// Also addresses that are not public: see [`is_allowed`](super::is_allowed).
    pub allow_private: bool,
}

impl Rules {
    /// For endpoints of the settings: who writes these may reach all that the gateway reaches.
    pub const TRUSTED: Self = Self {
        allow_http: true,
        allow_private: true,
    };
}

/// A URL that webhooks may go to, as far as can be known without asking anybody.
#[derive(Clone, PartialEq, Eq)]
pub struct Target {
    url: Url,
    rules: Rules,
}

/// Why webhooks must not go there. The text is for whoever wrote the URL, and does not repeat it: paths and queries of
/// webhooks are often secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// It cannot be read.
    #[error("not a URL: {0}")]
    NoUrl(ParseError),
    /// It can be read, but not be asked for.
    #[error("not a URL that HTTP can ask for")]
    NoUri,
    /// It is too long.
    #[error("a URL has at most {LONGEST} bytes")]
    TooLong,
    /// Webhooks are HTTP.
    #[error("webhooks go to https, not to {0}")]
    Scheme(String),
    /// Nobody allowed it.
    #[error("webhooks go to https; http is possible only where webhooks.allow_http is true")]
    Http,
    /// It would be shown wherever the URL is.
    #[error("a URL of a webhook holds no user or password: messages are known by their signature")]
    UserInfo,
    /// It would not be sent.
    #[error("a URL of a webhook holds no fragment (what follows \"#\"): it would not be sent")]
    Fragment,
    /// The URL names an address that is not public.
    #[error("{address} is {kind}, which webhooks must not reach")]
    Address {
        /// What the URL names.
        address: IpAddr,
        /// What is known of it.
        kind: &'static str,
    },
    /// The name in the URL has only addresses that are not public.
    #[error("{name} resolves to {address}, {kind}, which webhooks must not reach")]
    Name {
        /// What the URL names.
        name: String,
        /// The first of its addresses.
        address: IpAddr,
        /// What is known of that.
        kind: &'static str,
    },
}

/// Whether webhooks may go to this URL, as far as can be known without asking anybody.
pub fn check(url: &str, rules: Rules) -> Result<Target, TargetError> {
    if url.len() > LONGEST {
        return Err(TargetError::TooLong);
    }
    // From here on it is the URL as it was understood: what it looked like does not matter any more, so that the host
    // that is judged is the host that is asked.
    let url = Url::parse(url).map_err(TargetError::NoUrl)?;
    match url.scheme() {
        "https" => {}
        "http" if rules.allow_http => {}
        "http" => return Err(TargetError::Http),
        other => return Err(TargetError::Scheme(other.to_owned())),
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(TargetError::UserInfo);
    }
    if url.fragment().is_some() {
        return Err(TargetError::Fragment);
    }
    // Escapes make it longer, and not all that browsers take goes over the wire.
    if url.as_str().len() > LONGEST {
        return Err(TargetError::TooLong);
    }
    if url.as_str().parse::<Uri>().is_err() {
        return Err(TargetError::NoUri);
    }
    let target = Target { url, rules };
    if let Some(address) = target.address() {
        target.check_address(address)?;
    }
    Ok(target)
}

impl Target {
    /// Whether the name in the URL leads, as of now, to an address that webhooks may reach. A name that does not resolve
    /// is accepted: the receiver may come later, and every delivery looks again.
    pub async fn check_addresses(&self, lookup: &Lookup) -> Result<(), TargetError> {
        let Some(Host::Domain(name)) = self.url.host() else {
            return Ok(());
        };
        let asked = timeout(PATIENCE, lookup.addresses(name, self.rules.allow_private));
        match asked.await {
            Ok(Err(Unreachable::Forbidden(error))) => Err(error),
            Ok(Ok(_) | Err(Unreachable::Unresolved(_))) | Err(_) => Ok(()),
        }
    }

    /// The URL as it was understood: what `http://0x7f.1` means is `http://127.0.0.1/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.url.as_str()
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// The address in the URL, if it is no name. Nobody resolves such a host, so it has to be judged here.
    fn address(&self) -> Option<IpAddr> {
        match self.url.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    fn check_address(&self, address: IpAddr) -> Result<(), TargetError> {
        match addresses::forbidden(address) {
            Some(kind) if !self.rules.allow_private => Err(TargetError::Address { address, kind }),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Target {
    /// Without path and query, which are often secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Target({}/…)", self.url.origin().ascii_serialization())
    }
}

#[cfg(test)]
#[path = "target_tests.rs"]
mod tests;
