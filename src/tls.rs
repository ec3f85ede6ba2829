//! The TLS client configuration for Redis and webhooks: the system's roots plus optional certificates. The database
//! driver has a configuration of its own.

use std::sync::Arc;

use rustls::{ClientConfig, Error, RootCertStore, crypto::ring, pki_types::CertificateDer};

/// A configuration that trusts the system's roots (or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`) and `extra` ones.
///
/// The crypto provider is named, so that nothing depends on a process-wide default.
///
/// # Errors
///
/// One of the `extra` certificates is not valid.
pub(crate) fn client(extra: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "cannot load some root certificates of this system");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(root_store(system.certs, extra)?)
        .with_no_client_auth();
    Ok(config)
}

/// The roots of the system, or those of Mozilla where it has none (as in a bare container), and the `extra` ones.
fn root_store(
    system: Vec<CertificateDer<'static>>,
    extra: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // Systems have certificates that are too old to be parsed: they are skipped.
    roots.add_parsable_certificates(system);
    if roots.is_empty() {
        tracing::info!("this system has no root certificates; using those of Mozilla");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in extra {
        roots.add(certificate)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.self_signed(&key).unwrap()
    }

    #[test]
    fn a_system_without_roots_uses_those_of_mozilla() {
        let roots = root_store(Vec::new(), Vec::new()).unwrap();
        assert_eq!(roots.len(), webpki_roots::TLS_SERVER_ROOTS.len());
        let extended = root_store(Vec::new(), vec![root().der().clone()]).unwrap();
        assert_eq!(extended.len(), webpki_roots::TLS_SERVER_ROOTS.len() + 1);
    }

    #[test]
    fn the_roots_of_the_system_replace_those_of_mozilla() {
        let roots = root_store(vec![root().der().clone()], Vec::new()).unwrap();
        assert_eq!(roots.len(), 1);
    }
}
