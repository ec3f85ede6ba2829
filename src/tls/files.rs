//! The files of a listener: the certificate and its key.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    Error, ServerConfig,
    crypto::ring,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::NoServerSessionStorage,
    version::{TLS12, TLS13},
};
use sha2::{Digest as _, Sha256};
use strum::{Display, IntoStaticStr};
use x509_parser::parse_x509_certificate;

use crate::domain::Timestamp;

/// The largest file that is read, in bytes. A chain of certificates takes a few KiB.
const LARGEST: u64 = 1 << 20;
/// The bits of a file's mode that let everybody read or write it.
const FOR_EVERYBODY: u32 = 0o006;

/// The listener that files belong to: the section of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum ListenerName {
    /// `http.listen`.
    Http,
}

/// The paths of the files of one listener.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) listener: ListenerName,
    /// The certificate, and behind it those of the authorities between it and a root.
    pub(crate) certificate: PathBuf,
    /// The private key of the certificate.
    pub(crate) key: PathBuf,
    /// The application protocols that the listener speaks inside TLS; none if clients are not asked.
    pub(crate) protocols: Vec<Vec<u8>>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{setting} = {}: {reason}", path.display())]
pub struct TlsError {
    /// The settings key.
    pub setting: String,
    /// The value of `setting`.
    pub path: PathBuf,
    /// What is wrong with the file.
    pub reason: String,
}

/// The files that cannot be used; at least one. Displayed on one line.
#[derive(Debug)]
pub struct TlsErrors(pub Vec<TlsError>);

impl fmt::Display for TlsErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index > 0 { "; " } else { "" };
            write!(f, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for TlsErrors {}

/// The SHA-256 of the contents of all files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Digest([u8; 32]);

/// What was in the files.
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    /// Whether the file of the key is open to everybody of this host.
    key_is_open: bool,
}

/// A configuration made of the contents of files.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) config: Arc<ServerConfig>,
    pub(super) digest: Digest,
    /// From when the certificate is valid.
    pub(super) begins: Timestamp,
    /// Until when the certificate is valid.
    pub(super) ends: Timestamp,
    pub(super) key_is_open: bool,
}

impl TlsFiles {
    /// Reads the files. The error names all that cannot be read.
    pub(super) fn read(&self) -> Result<Contents, TlsErrors> {
        let certificate = self.read_file("certificate", &self.certificate);
        let key = self.read_file("key", &self.key);
        match (certificate, key) {
            (Ok((certificate, _)), Ok((key, mode))) => Ok(Contents {
                certificate,
                key,
                key_is_open: mode & FOR_EVERYBODY != 0,
            }),
            (certificate, key) => {
                let failed = certificate.err().into_iter().chain(key.err());
                Err(TlsErrors(failed.collect()))
            }
        }
    }

    /// Makes a configuration of what was in the files.
    pub(super) fn load(&self, contents: &Contents) -> Result<Loaded, TlsErrors> {
        self.configure(contents)
            .map_err(|error| TlsErrors(vec![error]))
    }

    fn configure(&self, contents: &Contents) -> Result<Loaded, TlsError> {
        let of_certificate = |reason| self.error("certificate", &self.certificate, reason);
        let of_key = |reason| self.error("key", &self.key, reason);
        let chain = CertificateDer::pem_slice_iter(&contents.certificate)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| of_certificate(explain(&error)))?;
        let Some(certificate) = chain.first() else {
            return Err(of_certificate("has no certificate in PEM".to_owned()));
        };
        let (begins, ends) = validity(certificate).map_err(of_certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
            of_key(match error {
                pem::Error::NoItemsFound => {
                    "has no private key in PEM, or one with a password".to_owned()
                }
                other => explain(&other),
            })
        })?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| of_certificate(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| match error {
                Error::InconsistentKeys(_) => of_key(format!(
                    "is not the key of the certificate in {}",
                    self.certificate.display()
                )),
                Error::InvalidCertificate(_) => of_certificate(error.to_string()),
                other => of_key(other.to_string()),
            })?;
        config.alpn_protocols.clone_from(&self.protocols);
        // Every handshake is a whole one, with the certificates and lists of this moment.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Loaded {
            config: Arc::new(config),
            digest: contents.digest(),
            begins,
            ends,
            key_is_open: contents.key_is_open,
        })
    }

    fn read_file(&self, name: &str, path: &Path) -> Result<(Vec<u8>, u32), TlsError> {
        read_file(path).map_err(|reason| self.error(name, path, reason))
    }

    fn error(&self, name: &str, path: &Path, reason: String) -> TlsError {
        TlsError {
            setting: format!("{}.tls.{name}", self.listener),
            path: path.to_owned(),
            reason,
        }
    }
}

impl Contents {
    pub(super) fn digest(&self) -> Digest {
        let mut digest = Sha256::new();
        for part in [&self.certificate, &self.key] {
            // The length keeps the parts apart.
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Digest(digest.finalize().into())
    }
}

/// The contents of a file, and its mode. The error is the reason.
fn read_file(path: &Path) -> Result<(Vec<u8>, u32), String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    // Before it is opened: opening a pipe would wait for somebody who writes to it.
    let metadata = fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut contents = Vec::new();
    let file = fs::File::open(path).map_err(cannot)?;
    let read = file.take(LARGEST + 1).read_to_end(&mut contents);
    if read.map_err(cannot)? as u64 > LARGEST {
        return Err("is larger than 1 MiB".to_owned());
    }
    Ok((contents, metadata.mode()))
}

/// From when and until when a certificate is valid. The error is the reason.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let (_rest, parsed) = parse_x509_certificate(certificate)
        .map_err(|error| format!("has a certificate that cannot be read: {error}"))?;
    let timestamp = |seconds: i64| Timestamp::from_millis(seconds.saturating_mul(1000));
    let validity = parsed.validity();
    Ok((
        timestamp(validity.not_before.timestamp()),
        timestamp(validity.not_after.timestamp()),
    ))
}

/// Errors of PEM in words: the library shows lines as lists of numbers.
fn explain(error: &pem::Error) -> String {
    match error {
        pem::Error::MissingSectionEnd { .. } => {
            "is not complete: a part of it has no end".to_owned()
        }
        pem::Error::IllegalSectionStart { .. } => "is not valid PEM".to_owned(),
        other => format!("is not valid PEM: {other}"),
    }
}
