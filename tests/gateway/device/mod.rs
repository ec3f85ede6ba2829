//! The device port: both dialects, sessions, and peers that misbehave.

mod hostile;
mod json;
mod proxy;
mod sessions;
mod text;
mod transcript;
