//! Device connections and sessions of this instance. No sockets: a session is reached through its connection's
//! [`ConnectionHandle`].
//!
//! `lifecycle` has the use cases: connect, log in, report, leave. `registry` holds the connections and sessions.
//! `session` is one session, and `reply_slots` has the pure rules of its outstanding commands. `connection_handle` is
//! how the rest of the gateway reaches a connection. `offline_grace` says how long a vehicle may take to come back.

mod connection_handle;
mod lifecycle;
mod offline_grace;
mod registry;
mod reply_slots;
mod session;

// The types of the store that the device port needs: `device` does not import `store`.
pub use crate::store::{Login, PendingWrite, StoreError, Written};
pub use connection_handle::{CommandWrite, ConnectionEvent, ConnectionHandle};
pub use lifecycle::{LoggedIn, LoginBacklog, LoginError, Sessions};
pub use offline_grace::OfflineGrace;
pub use registry::{ConnectionGuard, Overtaken, Registry};
pub use reply_slots::{Abandoned, MatchedCommand, SlotError};
pub use session::{Session, SlotReservation};
