//! The daemon as its peers see it: every test starts the real binary and talks to it over sockets.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on should stop"
)]

mod support;

mod balanced;
mod cluster;
mod command_load;
mod commands;
mod contract;
mod deploy;
mod desired;
mod durability;
mod fanout;
mod health;
mod history;
mod hostile;
mod house;
mod json;
mod lines;
mod operation;
mod presence;
mod proxy;
mod resources;
mod servers;
mod simulate;
mod text;
mod transcript;
mod upgrade;
mod webhooks;
