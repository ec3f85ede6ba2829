//! Black-box tests: each starts the real binary and talks to it over sockets. `layering` reads the source instead.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

mod cluster;
mod commands;
mod device;
mod history;
mod http;
mod layering;
mod operations;
mod store;
mod webhooks;
