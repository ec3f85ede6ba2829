//! The files of a listener: the certificate and its key, and by what certificates of clients are verified.

use std::{
    fmt, fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    Error, RootCertStore, ServerConfig,
    crypto::{CryptoProvider, ring},
    pki_types::{
        CertificateDer, CertificateRevocationListDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
    server::{NoServerSessionStorage, WebPkiClientVerifier, danger::ClientCertVerifier},
    version::{TLS12, TLS13},
};
use sha2::{Digest as _, Sha256};
use strum::{Display, IntoStaticStr};
use x509_parser::{parse_x509_certificate, parse_x509_crl, time::ASN1Time};

use crate::domain::Timestamp;

/// The largest file of certificates or keys that is read, in bytes. A chain takes a few KiB.
const LARGEST: u64 = 1 << 20;
/// The largest file of revocation lists that is read, in bytes: some 400,000 certificates.
const LARGEST_LISTS: u64 = 16 << 20;
/// The names of two settings of a listener, behind its section.
const CLIENT_CA: &str = "client_ca";
const CLIENT_CRL: &str = "client_crl";
/// The bits of a file's mode that let everybody read or write it.
const FOR_EVERYBODY: u32 = 0o006;

/// The listener that files belong to: the section of its settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum ListenerName {
    /// `http.listen`.
    Http,
    /// `device.tls.listen`.
    Device,
}

/// The paths of the files of one listener.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) listener: ListenerName,
    /// The certificate, and behind it those of the authorities between it and a root.
    pub(crate) certificate: PathBuf,
    /// The private key of the certificate.
    pub(crate) key: PathBuf,
    /// By what certificates of clients are verified; none if clients are not asked for any.
    pub(crate) clients: Option<ClientFiles>,
    /// The application protocols that the listener speaks inside TLS; none if clients are not asked.
    pub(crate) protocols: Vec<Vec<u8>>,
}

/// The paths of the files by which certificates of clients are verified.
#[derive(Debug, Clone)]
pub(crate) struct ClientFiles {
    /// The certificates of the authorities.
    pub(crate) authorities: PathBuf,
    /// The revocation lists of the authorities.
    pub(crate) lists: Option<PathBuf>,
    /// Whether a client has to show a certificate.
    pub(crate) is_required: bool,
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
    authorities: Vec<u8>,
    lists: Vec<u8>,
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
    /// When the first of the revocation lists should have been replaced by a newer one.
    pub(super) lists_end: Option<Timestamp>,
    pub(super) key_is_open: bool,
}

impl TlsFiles {
    /// Reads the files. The error names all that cannot be read.
    pub(super) fn read(&self) -> Result<Contents, TlsErrors> {
        let mut errors = Vec::new();
        let mut read = |name: &str, path: &Path, largest: u64| {
            read_file(path, largest).unwrap_or_else(|reason| {
                errors.push(self.error(name, path, reason));
                (Vec::new(), 0)
            })
        };
        let (certificate, _) = read("certificate", &self.certificate, LARGEST);
        let (key, mode) = read("key", &self.key, LARGEST);
        let (mut authorities, mut lists) = (Vec::new(), Vec::new());
        if let Some(clients) = &self.clients {
            (authorities, _) = read(CLIENT_CA, &clients.authorities, LARGEST);
            if let Some(path) = &clients.lists {
                (lists, _) = read(CLIENT_CRL, path, LARGEST_LISTS);
            }
        }
        if errors.is_empty() {
            Ok(Contents {
                certificate,
                key,
                authorities,
                lists,
                key_is_open: mode & FOR_EVERYBODY != 0,
            })
        } else {
            Err(TlsErrors(errors))
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
        let provider = Arc::new(ring::default_provider());
        let (verifier, lists_end) = self.verifier(contents, &provider)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13, &TLS12])
            .map_err(|error| of_certificate(error.to_string()))?
            .with_client_cert_verifier(verifier)
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
            lists_end,
            key_is_open: contents.key_is_open,
        })
    }

    /// By what certificates of clients are verified, and when the first of the revocation lists should have been replaced.
    fn verifier(
        &self,
        contents: &Contents,
        provider: &Arc<CryptoProvider>,
    ) -> Result<(Arc<dyn ClientCertVerifier>, Option<Timestamp>), TlsError> {
        let Some(clients) = &self.clients else {
            return Ok((WebPkiClientVerifier::no_client_auth(), None));
        };
        let of_authorities = |reason| self.error(CLIENT_CA, &clients.authorities, reason);
        let authorities = CertificateDer::pem_slice_iter(&contents.authorities)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| of_authorities(explain(&error)))?;
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots
                .add(authority)
                .map_err(|error| of_authorities(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(of_authorities("has no certificate in PEM".to_owned()));
        }
        let roots = Arc::new(roots);
        let mut builder = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
        if !clients.is_required {
            builder = builder.allow_unauthenticated();
        }
        let Some(path) = &clients.lists else {
            let verifier = builder
                .build()
                .map_err(|error| of_authorities(error.to_string()))?;
            return Ok((verifier, None));
        };
        let of_lists = |reason| self.error(CLIENT_CRL, path, reason);
        let lists = CertificateRevocationListDer::pem_slice_iter(&contents.lists)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| of_lists(explain(&error)))?;
        if lists.is_empty() {
            return Err(of_lists("has no revocation list in PEM".to_owned()));
        }
        let mut lists_end = None;
        for list in &lists {
            let ends = next_update(list).map_err(of_lists)?;
            lists_end = lists_end.into_iter().chain(ends).min();
        }
        let verifier = builder
            .with_crls(lists)
            .build()
            .map_err(|error| of_lists(error.to_string()))?;
        Ok((verifier, lists_end))
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
        for part in [&self.certificate, &self.key, &self.authorities, &self.lists] {
            // The length keeps the parts apart.
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Digest(digest.finalize().into())
    }
}

/// The contents of a file of at most so many bytes, and its mode. The error is the reason.
fn read_file(path: &Path, largest: u64) -> Result<(Vec<u8>, u32), String> {
    let cannot = |error: io::Error| format!("cannot be read: {error}");
    // Before it is opened: opening a pipe would wait for somebody who writes to it.
    let metadata = fs::metadata(path).map_err(cannot)?;
    if !metadata.is_file() {
        return Err("is not a regular file".to_owned());
    }
    let mut contents = Vec::new();
    let file = fs::File::open(path).map_err(cannot)?;
    let read = file.take(largest + 1).read_to_end(&mut contents);
    if read.map_err(cannot)? as u64 > largest {
        return Err(format!("is larger than {} MiB", largest >> 20));
    }
    Ok((contents, metadata.mode()))
}

/// From when and until when a certificate is valid. The error is the reason.
fn validity(certificate: &CertificateDer<'_>) -> Result<(Timestamp, Timestamp), String> {
    let (_rest, parsed) = parse_x509_certificate(certificate)
        .map_err(|error| format!("has a certificate that cannot be read: {error}"))?;
    let validity = parsed.validity();
    Ok((
        timestamp(&validity.not_before),
        timestamp(&validity.not_after),
    ))
}

/// When a revocation list should have been replaced by a newer one, if it says so. The error is the reason.
fn next_update(list: &CertificateRevocationListDer<'_>) -> Result<Option<Timestamp>, String> {
    let (_rest, parsed) = parse_x509_crl(list)
        .map_err(|error| format!("has a revocation list that cannot be read: {error}"))?;
    Ok(parsed.next_update().as_ref().map(timestamp))
}

fn timestamp(time: &ASN1Time) -> Timestamp {
    Timestamp::from_millis(time.timestamp().saturating_mul(1000))
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
