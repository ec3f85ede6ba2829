//! TLS client configuration of webhooks.

use std::path::{Path, PathBuf};

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};

use crate::tls;

/// TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsConfigError {
    /// The certificate authorities cannot be read.
    #[error("cannot read authorities from {}: {reason}", file.display())]
    CaFile {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The TLS library refuses the configuration.
    #[error("cannot set up TLS: {0}")]
    Setup(rustls::Error),
}

/// Returns a configuration that trusts the roots that the whole gateway trusts, and the certificate authorities in the
/// file (PEM).
pub(super) fn client(ca_file: Option<&Path>) -> Result<ClientConfig, TlsConfigError> {
    let additional = ca_file.map_or(Ok(Vec::new()), read)?;
    tls::client(additional).map_err(TlsConfigError::Setup)
}

fn read(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsConfigError> {
    let broken = |reason: String| TlsConfigError::CaFile {
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
    fn a_file_without_certificates_is_an_error_that_names_it() {
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
