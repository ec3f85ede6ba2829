//! Warnings about who else can reach or imitate what the gateway trusts. Logged before a server gets a password.

use crate::config::{HttpAuth, SecretUrl, Settings};

/// Warns about the ports and the servers of a gateway.
pub(super) fn warn(settings: &Settings) {
    if !settings.device.listen.ip().to_canonical().is_loopback() {
        tracing::warn!(listen = %settings.device.listen, "the device protocol has no passwords: every client of device.listen can log in as any vehicle, and everybody on the way can read and change what vehicles say");
    }
    let tls = &settings.device.tls;
    if let Some(listen) = tls.listen
        && !listen.ip().to_canonical().is_loopback()
        && !tls.require_client_certificate
    {
        tracing::warn!(%listen, "the device protocol has no passwords: every client of device.tls.listen can log in as any vehicle, unless device.tls.require_client_certificate is true");
    }
    if settings.http.auth == HttpAuth::Off {
        tracing::warn!(listen = %settings.http.listen, "http.auth is off: every client that reaches http.listen can read, command and delete vehicles");
    }
    warn_about_database(settings);
    warn_about_server("redis.url", &settings.redis.url);
}

/// Warns if another server could get the password of the database.
pub(super) fn warn_about_database(settings: &Settings) {
    warn_about_server("database.url", &settings.database.url);
}

fn warn_about_server(setting: &str, url: &SecretUrl) {
    if url.is_unverified() {
        tracing::warn!(setting, %url, "the certificate of a server on another host is not verified: an attacker who answers in its place gets the password and the data; set sslmode=verify-full (PostgreSQL), ssl-mode=VERIFY_IDENTITY (MySQL, MariaDB) or rediss:// (Redis)");
    }
}
