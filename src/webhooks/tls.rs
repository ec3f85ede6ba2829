//! Whom https believes.

use std::path::Path;

use rustls::{
    ClientConfig,
    pki_types::{CertificateDer, pem::PemObject},
};

use super::SenderError;
use crate::tls;

/// Believes whom all believe, and those in the file.
pub(super) fn client(ca_file: Option<&Path>) -> Result<ClientConfig, SenderError> {
    let own = ca_file.map_or(Ok(Vec::new()), read)?;
    tls::client(own).map_err(SenderError::Tls)
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
