//! Certificates that tests make for themselves.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, RevokedCertParams, SerialNumber,
};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer},
};

/// How long certificates are valid unless a test says otherwise.
const VALIDITY: Duration = Duration::from_hours(24 * 365);

/// An authority that issues certificates.
pub(crate) struct Authority {
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate and its key.
pub(crate) struct Identity {
    certificate: Certificate,
    key: KeyPair,
    serial_number: SerialNumber,
}

/// The files of a certificate and its key, as settings name them.
pub(crate) struct IdentityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        // Of two authorities of one name, one would be taken for the other.
        let name = format!("authority {}", fastrand::u64(..));
        parameters.distinguished_name.push(DnType::CommonName, name);
        let certificate = parameters.self_signed(&key).unwrap();
        Self {
            certificate,
            issuer: Issuer::new(parameters, key),
        }
    }

    /// A certificate for the gateway: for `localhost` and 127.0.0.1.
    pub(crate) fn issue(&self) -> Identity {
        self.issue_from(SystemTime::now() - VALIDITY, SystemTime::now() + VALIDITY)
    }

    /// A certificate for the gateway that ends then.
    pub(crate) fn issue_until(&self, ends: SystemTime) -> Identity {
        self.issue_from(SystemTime::now() - VALIDITY, ends)
    }

    /// A certificate for the gateway with this validity.
    pub(crate) fn issue_from(&self, begins: SystemTime, ends: SystemTime) -> Identity {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut parameters = CertificateParams::new(names).unwrap();
        parameters.not_before = begins.into();
        parameters.not_after = ends.into();
        self.sign(parameters)
    }

    /// A certificate for a vehicle.
    pub(crate) fn issue_vehicle(&self, id: &str) -> Identity {
        let mut parameters = CertificateParams::new(vec![id.to_owned()]).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        self.sign(parameters)
    }

    /// A revocation list of these certificates, which should be replaced by then.
    pub(crate) fn revoke(&self, identities: &[&Identity], ends: SystemTime) -> String {
        let revoked = identities.iter().map(|identity| RevokedCertParams {
            serial_number: identity.serial_number.clone(),
            revocation_time: SystemTime::now().into(),
            reason_code: None,
            invalidity_date: None,
        });
        let parameters = CertificateRevocationListParams {
            this_update: (SystemTime::now() - VALIDITY).into(),
            next_update: ends.into(),
            crl_number: SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        parameters.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    fn sign(&self, mut parameters: CertificateParams) -> Identity {
        let serial_number = SerialNumber::from(fastrand::u64(1..=u64::MAX >> 1));
        parameters.serial_number = Some(serial_number.clone());
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.issuer).unwrap();
        Identity {
            certificate,
            key,
            serial_number,
        }
    }

    /// The certificate of the authority.
    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    /// A client that trusts this authority.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        self.client_of(rustls::ALL_VERSIONS)
    }

    /// A client of these versions of TLS that trusts this authority.
    pub(crate) fn client_of(
        &self,
        versions: &[&'static SupportedProtocolVersion],
    ) -> Arc<ClientConfig> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(versions)
            .unwrap()
            .with_root_certificates(self.roots())
            .with_no_client_auth();
        Arc::new(config)
    }

    /// A client that trusts this authority and shows this certificate.
    pub(crate) fn client_with(&self, identity: &Identity) -> Arc<ClientConfig> {
        let key = PrivateKeyDer::try_from(identity.key.serialize_der()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(self.roots())
            .with_client_auth_cert(vec![identity.der().clone()], key)
            .unwrap();
        Arc::new(config)
    }

    fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        roots
    }
}

impl Identity {
    pub(crate) fn der(&self) -> &CertificateDer<'static> {
        self.certificate.der()
    }

    pub(crate) fn pem(&self) -> String {
        self.certificate.pem()
    }

    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }

    /// Writes both files into a folder.
    pub(crate) fn write_to(&self, folder: &Path) -> IdentityFiles {
        let files = IdentityFiles {
            certificate: folder.join("certificate.pem"),
            key: folder.join("key.pem"),
        };
        fs::write(&files.certificate, self.pem()).unwrap();
        write_secret(&files.key, &self.key_pem());
        files
    }
}

/// Writes a file that only its owner may read.
pub(crate) fn write_secret(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}
