//! TLS: as a client of Redis and webhooks, and as the server of the API and of devices.
//!
//! | | |
//! |---|---|
//! | `client` | the configurations of clients |
//! | `files` | the files of one listener: reads them, and makes a configuration of what is in them |
//! | `server` | one listener: its configuration at the moment, its handshakes |
//! | `failure` | why a handshake failed |
//! | `reload` | looks whether the files have changed, and warns before a certificate ends |
//!
//! The crypto provider is named everywhere, so that nothing depends on a process-wide default. The database driver has a
//! configuration of its own.

mod client;
mod failure;
mod files;
mod reload;
mod server;

pub(crate) use client::{client, unverified_client};
pub(crate) use failure::HandshakeFailure;
pub(crate) use files::{ClientFiles, ListenerName, TlsErrors, TlsFiles};
pub(crate) use reload::keep_current;
pub(crate) use server::{Opening, TlsServer};
