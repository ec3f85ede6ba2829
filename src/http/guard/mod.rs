//! What a request must fulfil before it is handled: its key, if keys are required, and, so that a web page in an
//! operator's browser can neither read the API nor speak to a vehicle, the name that it calls the gateway by and the
//! site that it comes from. And the headers by which every response tells browsers what not to do with it.

mod audit;
mod authorization;
mod headers;
mod host_names;
mod peer_address;
mod refusals;
mod request_id;
mod same_origin;

pub(super) use audit::{AuditSubject, AuditedOperations, note_in_audit};
pub use authorization::Authorization;
pub(super) use authorization::{KeyCheck, check_key};
pub(super) use headers::add_headers;
pub use host_names::HostNames;
pub(super) use host_names::check_host;
pub(super) use refusals::document_refusals;
pub(super) use request_id::name_request;
pub(super) use same_origin::{require_same_origin, require_same_origin_to_change};

/// Whose requests are answered.
#[derive(Debug, Clone)]
pub struct AccessRules {
    /// Which keys requests need.
    pub authorization: Authorization,
    /// The names by which the API may be called.
    pub hosts: HostNames,
}
