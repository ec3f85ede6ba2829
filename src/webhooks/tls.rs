//! Whom https believes.

use std::{path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::SenderError;

/// Believes the authorities of this system, and those in the file. The means of encryption are named, so that nothing
/// depends on what else in the process has installed for all.
pub(super) fn client(ca_file: Option<&Path>) -> Result<ClientConfig, SenderError> {
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "some authorities of this system are not known to webhooks");
    }
    let own = ca_file.map_or(Ok(Vec::new()), read)?;
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SenderError::Tls)?
        .with_root_certificates(authorities(system.certs, own)?)
        .with_no_client_auth();
    Ok(config)
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, SenderError> {
    let broken = |reason: String| SenderError::CaFile {
        file: file.to_owned(),
        reason,
    };
    let certificates: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| broken(error.to_string()))?;
    if certificates.is_empty() {
        return Err(broken("there is no certificate in it".to_owned()));
    }
    Ok(certificates)
}

/// Those of the system, or where it has none (as in a bare container) those that Mozilla believes; and the own ones.
fn authorities(
    system: Vec<CertificateDer<'static>>,
    own: Vec<CertificateDer<'static>>,
) -> Result<RootCertStore, SenderError> {
    let mut roots = RootCertStore::empty();
    // Systems hold some that are too old to be read.
    roots.add_parsable_certificates(system);
    if roots.is_empty() {
        tracing::info!("this system knows no authorities: webhooks believe those of Mozilla");
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    for certificate in own {
        roots.add(certificate).map_err(SenderError::Tls)?;
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

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

    #[test]
    fn a_file_of_authorities_that_holds_none_is_an_error_that_names_it() {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(b"nothing of the kind\n").unwrap();
        let missing = file.path().with_extension("missing");
        for path in [file.path(), &missing] {
            let error = client(Some(path)).unwrap_err().to_string();
            assert!(error.contains(&path.display().to_string()), "{error}");
        }
        file.write_all(authority().pem().as_bytes()).unwrap();
        assert_eq!(read(file.path()).unwrap().len(), 1);
    }
}
