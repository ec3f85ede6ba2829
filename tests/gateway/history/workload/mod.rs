//! What a run does to the gateways: devices, HTTP clients, and commands on the shared channel.

mod abandoned_connection;
mod device_connection;
pub(super) mod fleet;
pub(super) mod http_clients;
mod vehicle_requests;
