//! Messages between the instances on one database, through Redis. An instance without Redis has no fan-out.
//!
//! Nothing depends on a message arriving: the database is the truth, and a message may be lost, late or doubled. So
//! every request has a deadline, and [`FanoutEvent::MayHaveMissed`] says when to look up what notices report.
//!
//! `api` is the [`Fanout`] handle, `message` the types that it carries, `codec` their bytes. `inbox` decodes and routes
//! what arrives, `pending` holds the requests that wait for an answer. `redis` is the transport.

mod api;
mod codec;
mod drop_log;
mod inbox;
#[cfg(test)]
pub(crate) mod memory;
mod message;
mod participant;
mod pending;
mod redis;

pub use api::{Fanout, FanoutState, RequestError, SendError};
pub use message::{
    EndedSessions, FanoutEvent, Notice, PeerAnswer, PeerRequest, RemoteCommand, ReplyAddress,
};
pub use redis::{FanoutError, FanoutOptions};
