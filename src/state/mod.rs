//! The rules of vehicles, sessions and commands: what each write request makes of the rows that it touches.
//!
//! Pure, on domain types, so that the rules are tested without a database. The store reads (and, on a shared database,
//! locks) the rows of a batch, makes a [`BatchState`] of them, applies the batch's requests to it in the order in which
//! they came, and writes what changed.
//!
//! Invariants kept here: the committed logins of a vehicle get distinct, consecutive epochs, over deletion too; a
//! session's write counts only while the record names this incarnation and this epoch; the times that a vehicle's rows
//! are stamped with never go back. Those of commands are in `command_lifecycle`.

mod batch;
mod command_lifecycle;
mod commands;
mod presence;
mod vehicle;

pub use batch::Eviction;
pub(crate) use batch::{BatchState, NewBlob, NewReport};
pub use command_lifecycle::{Claimed, CommandTransition};
pub(crate) use commands::{CommandSet, StoredKey};
pub use commands::{IdempotencyKey, KEY_LIFETIME, NewCommand, Submitted};
pub use presence::{Login, LostSessions, Registered, SessionWrite, Written};
pub(crate) use vehicle::{ChangedColumns, VehicleEntry, VehicleRecord};
