//! The device port: both dialects, sessions, and peers that misbehave.

mod client_certificates;
mod hostile;
mod json;
mod proxy;
mod sessions;
mod text;
mod tls;
mod transcript;
