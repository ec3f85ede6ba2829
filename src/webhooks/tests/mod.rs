//! The client against receivers of every kind, on real sockets.

mod receiver;
mod requests;
mod responses;
mod tls;
mod url_policy;
