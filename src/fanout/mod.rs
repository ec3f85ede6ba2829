//! Messages between the instances on one database, through Redis. Without `redis.url` an instance sends and receives
//! none.
//!
//! Nothing depends on a message arriving: the database decides, and a message may be lost, late or duplicated. So every
//! request has a deadline, and after [`FanoutEvent::MayHaveMissed`] the receiver reads from the database what lost
//! notices would have said.
//!
//! `api` is the [`Fanout`] handle, `message` the types that it carries, `codec` their bytes. `inbox` decodes and routes
//! what arrives, and `drop_log` logs what cannot be decoded. `pending` holds the requests that wait for an answer,
//! `participant` the state that does not depend on the transport. `redis` is the transport, `memory` one for tests.

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
