//! Resolves host names to the addresses that webhooks may reach.

use std::{
    fmt, io,
    net::{IpAddr, SocketAddr},
    pin::Pin,
    sync::Arc,
};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::ip_policy;

type Resolution = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send>>;

/// Resolves host names to addresses: by the operating system, or in tests by a function.
#[derive(Clone)]
pub struct Resolver(Arc<dyn Fn(String) -> Resolution + Send + Sync>);

/// A name has no address that webhooks may reach.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    /// The name has no address, or the name server does not answer.
    #[error("the name does not resolve{0}")]
    Unresolved(String),
    /// Webhooks must not reach any of its addresses.
    #[error(transparent)]
    Forbidden(#[from] ForbiddenName),
}

/// A name that resolves only to addresses that webhooks must not reach. It does not hold them: a user of the API who
/// may not reach the network inside should not learn its names' addresses either.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name} resolves to {kind}, which webhooks must not reach")]
pub struct ForbiddenName {
    /// The name.
    pub name: String,
    /// What kind of address the first of its addresses is.
    pub kind: &'static str,
}

impl Resolver {
    /// The resolver of the operating system.
    #[must_use]
    pub fn system() -> Self {
        Self::new(async |name: String| {
            let found = tokio::net::lookup_host((name, 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    }

    /// A resolver that calls this function with each name.
    pub fn new<F, A>(resolve: F) -> Self
    where
        F: Fn(String) -> A + Send + Sync + 'static,
        A: Future<Output = io::Result<Vec<IpAddr>>> + Send + 'static,
    {
        Self(Arc::new(move |name| Box::pin(resolve(name))))
    }

    /// Returns the addresses of a name that webhooks may reach, in the order in which they were found: at least one.
    pub(super) async fn addresses(
        &self,
        name: &str,
        allow_private: bool,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let found = match (self.0)(name.to_owned()).await {
            Ok(found) => found,
            Err(error) => return Err(ResolveError::Unresolved(reason(&error))),
        };
        let Some(first) = found.first().copied() else {
            return Err(ResolveError::Unresolved(String::new()));
        };
        if allow_private {
            return Ok(found);
        }
        let allowed: Vec<_> = found
            .into_iter()
            .filter(|ip| ip_policy::is_allowed(*ip))
            .collect();
        match ip_policy::forbidden(first) {
            Some(kind) if allowed.is_empty() => {
                tracing::debug!(name, address = %first, "webhooks must not reach the addresses of a name");
                let name = name.to_owned();
                Err(ForbiddenName { name, kind }.into())
            }
            _ => Ok(allowed),
        }
    }
}

/// The error of the operating system behind a colon, without the words that repeat ours.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let reason = text
        .strip_prefix("failed to lookup address information: ")
        .unwrap_or(&text);
    format!(": {reason}")
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

/// Resolver of the HTTP client. It applies the IP policy while a connection is made, so that the address that is
/// checked is the one that is connected to: a name server that answers a check and a connection differently gains
/// nothing.
pub(super) struct GuardedResolver {
    pub(super) resolver: Resolver,
    pub(super) allow_private: bool,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.resolver.clone();
        let allow_private = self.allow_private;
        Box::pin(async move {
            let addresses = resolver.addresses(name.as_str(), allow_private).await?;
            // The client replaces port 0 by that of the URL.
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finds(addresses: &'static [&'static str]) -> Resolver {
        Resolver::new(async move |_name| {
            Ok(addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect())
        })
    }

    async fn guarded(resolver: &Resolver) -> Result<Vec<String>, String> {
        let found = resolver.addresses("hook.test", false).await;
        found
            .map(|addresses| addresses.iter().map(IpAddr::to_string).collect())
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn only_the_public_addresses_of_a_name_are_connected_to() {
        let resolver = finds(&["10.0.0.1", "1.1.1.1", "::1", "2606:4700::1"]);
        let found = guarded(&resolver).await.unwrap();
        assert_eq!(found, ["1.1.1.1", "2606:4700::1"]);
        let all = resolver.addresses("hook.test", true).await.unwrap();
        assert_eq!(all.len(), 4);
    }

    #[tokio::test]
    async fn a_name_without_public_addresses_is_refused_with_their_kind_only() {
        let refused = guarded(&finds(&["10.0.0.1", "::1"])).await.unwrap_err();
        assert_eq!(
            refused,
            "hook.test resolves to a private address, which webhooks must not reach"
        );
    }

    #[tokio::test]
    async fn a_name_without_addresses_does_not_resolve() {
        let refused = guarded(&finds(&[])).await.unwrap_err();
        assert_eq!(refused, "the name does not resolve");
    }

    #[tokio::test]
    async fn localhost_resolves_to_loopback_addresses() {
        let found = Resolver::system()
            .addresses("localhost", true)
            .await
            .unwrap();
        assert!(found.iter().all(IpAddr::is_loopback));
        let refused = guarded_system("localhost").await;
        assert!(refused.contains("a loopback address"), "{refused}");
    }

    async fn guarded_system(name: &str) -> String {
        let refused = Resolver::system().addresses(name, false).await;
        refused.unwrap_err().to_string()
    }
}
