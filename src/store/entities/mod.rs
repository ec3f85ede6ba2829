//! Rows as the database has them. They never leave the store.

pub(super) mod api_key;
pub(super) mod audit_record;
pub(super) mod command;
pub(super) mod debug_blob;
pub(super) mod idempotency_key;
pub(super) mod instance;
pub(super) mod last_use;
pub(super) mod report;
pub(super) mod vehicle;
pub(super) mod webhook_endpoint;
pub(super) mod webhook_lane;
pub(super) mod webhook_message;
pub(super) mod webhook_set;
