//! The workload: devices, HTTP clients and a publisher of commands, each driven by a random generator of its own that
//! comes from the seed of the run. Each records what it does and sees; none of them judges it.

mod abandoned_connection;
mod command_requests;
mod device_behaviour;
mod device_connection;
mod fleet;
mod http_clients;
mod published_commands;
mod vehicle_requests;

pub(crate) use fleet::{DeviceAddresses, Fleet};
pub(crate) use http_clients::{HttpAddresses, HttpClients};
