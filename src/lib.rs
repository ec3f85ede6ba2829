//! One daemon between connected vehicles and the software that runs a fleet.
#![cfg_attr(
    test,
    expect(
        clippy::unwrap_used,
        clippy::panic,
        reason = "a test that cannot go on should stop"
    )
)]

pub mod app;
mod backoff;
pub mod cluster;
pub mod commands;
pub mod config;
pub mod device;
pub mod domain;
pub mod fanout;
pub mod health;
pub mod http;
pub mod instance;
pub mod maintenance;
mod pacing;
pub mod peers;
pub mod protocol;
mod resource;
pub mod sessions;
pub mod signals;
pub mod simulate;
pub mod store;
pub mod telemetry;
mod tls;
pub mod vehicles;
mod webhook_payload;
pub mod webhooks;
