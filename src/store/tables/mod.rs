//! SQL, one file for each table: what a batch reads and writes, what callers read, and what is purged.

pub(super) mod api_keys;
pub(super) mod audit;
pub(super) mod commands;
pub(super) mod debug_blobs;
mod history;
pub(super) mod idempotency_keys;
pub(super) mod instances;
pub(super) mod purge;
pub(super) mod reports;
pub(super) mod vehicles;

pub use audit::AuditPage;
pub use commands::CommandPage;
pub use debug_blobs::DebugBlobPiece;
pub use history::{HistoryPage, Position};

/// Keys that one SELECT asks for at most.
const KEYS_PER_SELECT: usize = 512;
