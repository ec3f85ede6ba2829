//! Whom this gateway believes when it connects to others by TLS: to Redis and to the receivers of webhooks. The database's
//! driver has its own ways.

use std::sync::Arc;

use rustls::{ClientConfig, Error, RootCertStore, crypto::ring, pki_types::CertificateDer};

/// Believes the authorities of this system, or those that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, and these own ones. The
/// means of encryption are named, so that nothing depends on what else in the process has installed for all.
pub(crate) fn client(own: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some authorities of this system are not known");
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(authorities(system.certs, own)?)
        .with_no_client_auth();
    Ok(config)
}

/// Those of the system, or where it has none (as in a bare container) those that Mozilla believes; and the own ones.
fn authorities(
    system: Vec<CertificateDer<'static>>,
    own: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    // Systems hold some that are too old to be read.
    roots.add_parsable_certificates(system);
    if roots.is_empty() {
        tracing::info!("this system knows no authorities: those of Mozilla are believed");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in own {
        roots.add(certificate)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn authority() -> rcgen::Certificate {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
        parameters.self_signed(&key).unwrap()
    }

    #[test]
    fn a_system_without_authorities_believes_those_of_mozilla() {
        let roots = authorities(Vec::new(), Vec::new()).unwrap();
        assert_eq!(roots.len(), webpki_roots::TLS_SERVER_ROOTS.len());
        let own = authorities(Vec::new(), vec![authority().der().clone()]).unwrap();
        assert_eq!(own.len(), webpki_roots::TLS_SERVER_ROOTS.len() + 1);
    }

    #[test]
    fn the_authorities_of_the_system_are_enough() {
        let roots = authorities(vec![authority().der().clone()], Vec::new()).unwrap();
        assert_eq!(roots.len(), 1);
    }
}
