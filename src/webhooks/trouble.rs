//! Why there was no answer, as an operator wants to read it.

use std::{error::Error, io, time::Duration};

use rustls::CertificateError;

use super::{TargetError, lookup::Unreachable};

/// Texts of libraries may quote what the receiver says of itself.
const LONGEST: usize = 300;

/// What the error comes from, in a few words. `connecting` is how long that may take.
pub(super) fn describe(error: &reqwest::Error, connecting: Duration) -> String {
    let mut text = if error.is_connect() && error.is_timeout() {
        format!("no connection within {}", seconds(connecting))
    } else {
        reason(error)
    };
    text.truncate(text.floor_char_boundary(LONGEST));
    text
}

/// A time as it is spoken of: `15 s`, `200 ms`.
pub(super) fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

/// The first in the chain of causes that is known says more than those around it; of the unknown ones, the last.
fn reason(error: &(dyn Error + 'static)) -> String {
    let mut current = error;
    loop {
        if let Some(known) = known(current) {
            return known;
        }
        match cause(current) {
            Some(next) => current = next,
            None => return current.to_string(),
        }
    }
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    if let Some(error) = error.downcast_ref::<io::Error>()
        && let Some(inner) = error.get_ref()
    {
        // Its `source` would be that of the inner one.
        return Some(inner);
    }
    error.source()
}

fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<Unreachable>() {
        return Some(error.to_string());
    }
    if let Some(error) = error.downcast_ref::<TargetError>() {
        return Some(error.to_string());
    }
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return Some(of_tls(error));
    }
    if let Some(error) = error.downcast_ref::<hyper::Error>() {
        return of_http(error).map(str::to_owned);
    }
    of_connection(error.downcast_ref::<io::Error>()?.kind()).map(str::to_owned)
}

fn of_tls(error: &rustls::Error) -> String {
    use rustls::Error::{InvalidCertificate, InvalidMessage};
    let InvalidCertificate(certificate) = error else {
        return match error {
            InvalidMessage(_) => "what answers does not speak TLS".to_owned(),
            other => format!("TLS failed: {other}"),
        };
    };
    let what = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet"
        }
        CertificateError::UnknownIssuer => "is of an authority that is not known here",
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "is for another name"
        }
        CertificateError::Revoked => "was revoked",
        other => return format!("the certificate is not accepted: {other}"),
    };
    format!("the certificate {what}")
}

fn of_http(error: &hyper::Error) -> Option<&'static str> {
    if error.is_incomplete_message() {
        Some("the connection was closed before an answer")
    } else if error.is_parse_too_large() {
        Some("the head of the answer is too large")
    } else if error.is_parse() {
        Some("what answers does not speak HTTP")
    } else {
        None
    }
}

fn of_connection(kind: io::ErrorKind) -> Option<&'static str> {
    use io::ErrorKind as Kind;
    match kind {
        Kind::ConnectionRefused => Some("connection refused"),
        Kind::ConnectionReset | Kind::ConnectionAborted | Kind::BrokenPipe => {
            Some("the connection was reset")
        }
        Kind::UnexpectedEof => Some("the connection was closed before an answer"),
        Kind::HostUnreachable => Some("the host cannot be reached"),
        Kind::NetworkUnreachable => Some("the network cannot be reached"),
        Kind::TimedOut => Some("the host does not answer"),
        _ => None,
    }
}
