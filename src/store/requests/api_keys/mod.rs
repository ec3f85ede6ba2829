//! Write requests about keys of the API.

mod create_key;
mod note_key_uses;
mod revoke_key;
mod rotate_key;

pub use rotate_key::KeyRotation;

/// Bytes that a key takes in the queue.
const KEY_BYTES: usize = 512;
