//! Deliveries to receivers of every kind, on real sockets.

mod answers;
mod messages;
mod places;
mod receiver;
mod secure;
