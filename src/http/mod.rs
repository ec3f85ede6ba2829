//! The REST API.
//!
//! | | |
//! |---|---|
//! | `routes/` | the handlers, and the DTOs of their requests and responses |
//! | `accept` | what a client prefers |
//! | `extract/` | the validated parts of a request: path, query, body, `Idempotency-Key` |
//! | `guard/` | whether a request may come in: its key, its host name and its origin |
//! | `json`, `problem/`, `paging/` | responses: JSON, errors, lists in pages |
//! | `openapi/` | the parts of the `OpenAPI` document that are not derived from types |
//! | `failure_log` | log lines about requests that fail |
//! | `router` | routes and document put together, with time limits, compression and the response to panics |
//! | `static_content`, `compression` | what is compressed once, and what is for each request |
//! | `unread_budget` | the memory of responses that clients have not read yet |
//! | `server/` | the connections |
//!
//! Rules live in the use cases and SQL in the store. DTOs do not leave this module, except for those in
//! `crate::api_model`.

mod accept;
mod compression;
mod extract;
mod failure_log;
mod guard;
mod json;
mod media_type;
mod openapi;
mod options;
mod paging;
mod problem;
mod router;
mod routes;
mod server;
mod state;
mod static_content;
mod unread_budget;

#[cfg(test)]
mod tests;

pub use guard::{AccessRules, Authorization, HostNames};
pub use options::HttpOptions;
pub use router::{openapi, router};
pub(crate) use server::{RESERVED_CONNECTIONS, serve};
pub use state::ApiParts;
