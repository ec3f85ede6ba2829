//! Webhooks: administration of endpoints, and delivery of messages to them.
//!
//! `admin` has the operations that the API offers. `dispatcher` claims delivery queues that are due and sends their
//! messages with `client`; `in_flight` counts its tasks, `counters` their attempts. `secret` and `signing` make a
//! message verifiable. `url_policy`, `ip_policy` and `resolver` decide where messages may go, also at the moment of
//! connecting. `tls` says which certificates are trusted, `response` what a response means, `transport_error` why there
//! is none.
//!
//! When a message is sent again, and when an endpoint is left alone, are rules of `crate::state`.

mod admin;
mod client;
mod counters;
mod dispatcher;
mod in_flight;
mod ip_policy;
mod resolver;
mod response;
mod secret;
mod signing;
#[cfg(test)]
mod tests;
mod tls;
mod transport_error;
mod url_policy;

// Re-exported for `http` and `app`.
pub use crate::state::RetrySchedule;
pub use crate::store::{
    Endpoint, EndpointPatch, EndpointState, MessagePage, SecretText, StoredMessage,
};
pub use admin::{EndpointError, EndpointRequest, WebhookAdmin};
pub use client::{
    DeliveryAttempt, WebhookClient, WebhookClientError, WebhookClientOptions, WebhookRequest,
};
pub use counters::DeliveryCounters;
pub use dispatcher::{Dispatcher, DispatcherOptions};
pub use ip_policy::is_allowed;
pub use resolver::{ForbiddenName, Resolver};
pub use secret::{Secret, SecretError};
pub use signing::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};
pub use tls::TlsConfigError;
pub use url_policy::{AllowedUrl, UrlPolicy, UrlPolicyError};
