//! The crypto provider that the HTTP client of these tests needs, even without TLS.

use std::sync::Once;

use rustls::crypto::ring;

static PROVIDED: Once = Once::new();

/// Installs the default provider of the process, once. The gateway's own client names its provider itself.
pub(crate) fn install_tls_provider() {
    PROVIDED.call_once(|| ring::default_provider().install_default().unwrap());
}
