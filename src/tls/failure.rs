//! Why a handshake failed.

use std::io::{self, ErrorKind};

use rustls::Error;
use strum::{Display, EnumCount, FromRepr, IntoStaticStr};

/// Why there is no TLS on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Display, EnumCount, FromRepr, IntoStaticStr)]
#[repr(usize)]
#[strum(serialize_all = "kebab-case")]
pub(crate) enum HandshakeFailure {
    /// The client does not speak TLS.
    PlainText,
    /// The client did not finish in time.
    Timeout,
    /// The client closed the connection.
    Closed,
    /// The client offers no version or method that the gateway has, such as TLS 1.1.
    Incompatible,
    /// The client refuses to go on, mostly because it does not trust the certificate of the gateway.
    ClientRefused,
    /// The client shows no certificate, and one is required.
    NoCertificate,
    /// The certificate of the client is not accepted: it is of another authority, revoked or over.
    CertificateRefused,
    /// What the client sent is not valid TLS.
    Invalid,
}

impl HandshakeFailure {
    /// What an error of a handshake stands for.
    pub(super) fn of(error: &io::Error) -> Self {
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        match (inner, error.kind()) {
            (Some(Error::PeerIncompatible(_) | Error::NoApplicationProtocol), _) => {
                Self::Incompatible
            }
            (Some(Error::AlertReceived(_)), _) => Self::ClientRefused,
            (Some(Error::NoCertificatesPresented), _) => Self::NoCertificate,
            (Some(Error::InvalidCertificate(_) | Error::InvalidCertRevocationList(_)), _) => {
                Self::CertificateRefused
            }
            (Some(_), _) => Self::Invalid,
            (None, ErrorKind::TimedOut) => Self::Timeout,
            // Closed or reset, in the midst of it.
            (None, _) => Self::Closed,
        }
    }
}
