//! What the HTTP client of these tests wants before it asks anybody, even without TLS.

use std::sync::Once;

use rustls::crypto::ring;

static PROVIDED: Once = Once::new();

/// The gateway's own client names its means of encryption; the same library with its defaults takes those of the process.
pub(crate) fn install_tls_provider() {
    PROVIDED.call_once(|| ring::default_provider().install_default().unwrap());
}
