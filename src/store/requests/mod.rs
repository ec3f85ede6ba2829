//! The write requests: everything that changes a table is one of these.
//!
//! A request says which rows it touches, how much room it takes in the queue, what it makes of the rows in memory, and
//! what its caller gets after the commit. One is added by a file here: a struct that implements [`WriteRequest`], and
//! the method of `Store` that submits it.
//!
//! [`WriteRequest`]: super::write_request::WriteRequest

mod api_keys;
mod claim_command;
mod command_transition;
mod delete_vehicle;
mod end_graces;
mod end_lost_sessions;
mod heartbeats;
mod history_purged;
mod login;
mod membership;
mod note_use;
mod purge;
mod record_audit;
mod register_vehicle;
mod session_write;
mod submit_command;
mod update_status;
mod webhooks;

pub use api_keys::KeyRotation;
pub use note_use::DatabaseUse;
pub use purge::Purge;

/// Bytes that each device id of a list takes in the queue.
const DEVICE_ID_BYTES: usize = 96;
