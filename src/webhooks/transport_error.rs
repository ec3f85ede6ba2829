//! Short texts for operators about requests that got no response.

use std::{error::Error, io, time::Duration};

use rustls::CertificateError;

use super::{resolver::ResolveError, response::printable};

/// The longest text, in bytes: texts of libraries may quote what the server sends.
const MAX_BYTES: usize = 300;

/// Describes the cause of an error. `connect_timeout` is the time that a connection may take.
pub(super) fn describe(error: &reqwest::Error, connect_timeout: Duration) -> String {
    let mut text = if error.is_connect() && error.is_timeout() {
        format!("no connection within {}", seconds(connect_timeout))
    } else {
        printable(&reason(error))
    };
    text.truncate(text.floor_char_boundary(MAX_BYTES));
    text
}

/// Formats a time as `15 s` or `200 ms`.
pub(super) fn seconds(time: Duration) -> String {
    if time.subsec_nanos() == 0 {
        format!("{} s", time.as_secs())
    } else {
        format!("{} ms", time.as_millis())
    }
}

/// Describes the first known error in the chain of causes, or else the last error of the chain.
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
        // `source` would skip the inner error: it returns the source of that.
        return Some(inner);
    }
    error.source()
}

fn known(error: &(dyn Error + 'static)) -> Option<String> {
    if let Some(error) = error.downcast_ref::<ResolveError>() {
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
            InvalidMessage(_) => "the server does not speak TLS".to_owned(),
            other => format!("TLS failed: {other}"),
        };
    };
    let what = match certificate {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "is not valid yet"
        }
        CertificateError::UnknownIssuer => "is issued by an unknown authority",
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
        Some("the connection was closed before a response")
    } else if error.is_parse_too_large() {
        Some("the head of the response is too large")
    } else if error.is_parse() {
        Some("the server does not speak HTTP")
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
        Kind::UnexpectedEof => Some("the connection was closed before a response"),
        Kind::HostUnreachable => Some("the host cannot be reached"),
        Kind::NetworkUnreachable => Some("the network cannot be reached"),
        Kind::TimedOut => Some("the host does not answer"),
        _ => None,
    }
}
