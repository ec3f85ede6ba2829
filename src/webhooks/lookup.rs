//! From a name to the addresses that webhooks may reach.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{TargetError, addresses};

type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// How names are resolved.
#[derive(Clone)]
pub struct Lookup(Arc<dyn Fn(String) -> Answer + Send + Sync>);

/// Why a name leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unreachable {
    /// Nobody knows an address of it, or the name server does not answer.
    #[error("the name does not resolve{0}")]
    Unresolved(String),
    /// None of its addresses may be reached.
    #[error(transparent)]
    Forbidden(#[from] TargetError),
}

impl Lookup {
    /// As this host resolves names.
    #[must_use]
    pub fn system() -> Self {
        Self::new(async |name: String| {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    /// As this function resolves names.
    pub fn new<F, A>(resolve: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(resolve(name))))
    }

    /// The addresses of a name that may be reached, in the order in which they were found: at least one.
    pub(super) async fn addresses(
        &self,
        name: &str,
        allow_private: bool,
    ) -> Result<Vec<IpAddr>, Unreachable> {
        let found = match (self.0)(name.to_owned()).await {
            Ok(found) => found,
            Err(error) => return Err(Unreachable::Unresolved(reason(&error))),
        };
        let Some(first) = found.first().copied() else {
            return Err(Unreachable::Unresolved(String::new()));
        };
        if allow_private {
            return Ok(found);
        }
        let allowed: Vec<_> = found
            .into_iter()
            .filter(|ip| addresses::is_allowed(*ip))
            .collect();
        match addresses::forbidden(first) {
            Some(kind) if allowed.is_empty() => Err(TargetError::Name {
                name: name.to_owned(),
                address: first,
                kind,
            }
            .into()),
            _ => Ok(allowed),
        }
    }
}

/// What the system said, behind a colon and without the words that say it twice.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let told = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    format!(": {told}")
}

impl fmt::Debug for Lookup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lookup")
    }
}

/// Resolves in the moment of connecting, so that the address that is judged is the address that is connected to. A name
/// whose owner answers one thing to whoever checks and another to whoever connects gains nothing.
pub(super) struct Guard {
    pub(super) lookup: Lookup,
    pub(super) allow_private: bool,
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let lookup = self.lookup.clone();
        let allow_private = self.allow_private;
        Box::pin(async move {
            let addresses = lookup.addresses(name.as_str(), allow_private).await?;
            // The port is that of the URL.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(addresses: &'static [&'static str]) -> Lookup {
        Lookup::new(async move |_name| {
            Ok(addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect())
        })
    }

    async fn guarded(lookup: &Lookup) -> Result<Vec<String>, String> {
        let found = lookup.addresses("hook.test", false).await;
        found
            .map(|addresses| addresses.iter().map(IpAddr::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_the_public_addresses_of_a_name_are_connected_to() {
        let lookup = finds(&["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1"]);
        let found = guarded(&lookup).await.unwrap();
        assert_eq!(found, ["1.1.1.1", "2606:4700::1"]);
        let all = lookup.addresses("hook.test", true).await.unwrap();
        assert_eq!(all.len(), 4);
    }

    #[tokio::test]
    async fn a_name_with_no_public_address_is_refused_by_its_first() {
        let refused = guarded(&finds(&["10.0.0.1", "::1"])).await.unwrap_err();
        assert_eq!(
            refused,
            "hook.test resolves to 10.0.0.1, a private address, which webhooks must not reach"
        );
    }

    #[tokio::test]
    async fn a_name_without_addresses_does_not_resolve() {
        let refused = guarded(&finds(&[])).await.unwrap_err();
        assert_eq!(refused, "the name does not resolve");
    }

    #[tokio::test]
    async fn this_host_knows_itself() {
        let found = Lookup::system().addresses("localhost", true).await.unwrap();
        assert!(found.iter().all(IpAddr::is_loopback));
        let refused = guarded_system("localhost").await;
        assert!(refused.contains("a loopback address"), "{refused}");
    }

    async fn guarded_system(name: &str) -> String {
        let refused = Lookup::system().addresses(name, false).await;
        refused.unwrap_err().to_string()
    }
}
