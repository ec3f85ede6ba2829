//! The real daemon on free ports with a folder of its own, and the peers that talk to it.

mod daemon;
mod device;
mod wait;

pub use daemon::{Builder, Daemon};
pub use device::{Device, hello, json};
pub use wait::{PATIENCE, wait_until};
