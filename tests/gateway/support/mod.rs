//! The real daemon on free ports with a folder of its own, and the peers that talk to it.

mod daemon;
mod database;
mod device;
mod simulation;
mod vehicle;
mod wait;

pub(crate) use daemon::Daemon;
pub(crate) use database::{Lock, change, query};
pub(crate) use device::{Device, hello, json};
pub(crate) use simulation::Simulation;
pub(crate) use vehicle::{Dialect, Vehicle};
pub(crate) use wait::{PATIENCE, wait_until};
