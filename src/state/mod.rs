//! The rules of vehicles, sessions, commands and webhook delivery: what each write request makes of the rows that it
//! touches.
//!
//! Pure, on domain types, so that the rules are tested without a database. The store reads (and, on a shared database,
//! locks) the rows of a batch, makes a [`BatchState`] of them, applies the batch's requests to it in the order in which
//! they came, and writes what changed. The rules of webhook delivery (`breaker`, `backlog`, `retry`, `delivery_queue`)
//! work on the rows of one endpoint, message or queue.
//!
//! Invariants kept here: the committed logins of a vehicle get distinct, consecutive epochs, over deletion too; a
//! session's write counts only while the record names this incarnation and this epoch; the times that a vehicle's rows
//! are stamped with never go back. The invariants of commands are in `command_lifecycle`.

mod backlog;
mod batch;
mod breaker;
mod command_lifecycle;
mod commands;
mod delivery_queue;
mod presence;
mod retry;
mod vehicle;

pub(crate) use backlog::Backlog;
pub use batch::Eviction;
pub(crate) use batch::{BatchState, NewBlob, NewReport};
pub(crate) use breaker::CircuitBreaker;
pub(crate) use breaker::{BreakerSignal, OutcomeSummary};
pub use command_lifecycle::{Claimed, CommandTransition};
pub(crate) use commands::{CommandSet, QueuedCommand, StoredKey};
pub use commands::{IdempotencyKey, KEY_LIFETIME, NewCommand, Submitted};
pub(crate) use delivery_queue::{DeliveryQueue, OpenMessage, QueueOptions};
pub use presence::{Login, LostSessions, Registered, SessionWrite, Written};
pub(crate) use retry::LONGEST_RETRY_AFTER;
pub(crate) use retry::MessageUpdate;
pub use retry::RetrySchedule;
pub(crate) use vehicle::{ChangedColumns, LONGEST_GRACE, VehicleEntry, VehicleRecord};
