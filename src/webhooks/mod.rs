//! Telling the software of a fleet what happened: signing a message. SQL is not known here.

mod secret;

pub use secret::{Secret, SecretError};

mod body;
pub use body::render;
