//! The database: durability, servers that fail, schemas of other versions.

mod durability;
mod server;
mod upgrade;
