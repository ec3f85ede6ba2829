//! The database: durability, servers that fail, schemas of other versions.

mod clock;
mod durability;
mod fail_over;
#[cfg(target_os = "linux")]
mod galera;
mod server_concurrency;
mod server_outages;
mod server_refusals;
mod server_start;
mod server_values;
mod sessions;
mod upgrade;

/// Logged when a batch fails for the first time.
const CANNOT_COMMIT: &str = "the database cannot commit; nothing is acknowledged until it does";
