//! Webhooks in the database: endpoints, and the outbox of messages, written in the transaction of the change that they
//! report.
//!
//! SQL only: when an endpoint is left alone, when a message is sent again and what is sent next are rules of
//! [`state`](crate::state). What one endpoint still has to receive about one vehicle is a *delivery queue* (a row of
//! `webhook_lanes`). Instances claim queues, not messages, so that the search for what is due does not grow with the
//! table of messages. A message that was sent, but not settled because its sender died, is sent again under the same
//! id.

mod attempts;
pub(super) mod backlog;
mod batch;
mod breakers;
pub(super) mod claim;
pub(super) mod configure;
pub(super) mod due_limits;
mod endpoint;
mod endpoints;
pub(super) mod manage;
mod message;
mod next_messages;
mod outbox;
#[cfg(test)]
mod plan_tests;
pub(super) mod purge;
mod queries;
mod queues;
pub(super) mod resend;
mod webhook_batch;

pub use backlog::{CatchUp, Surplus};
pub(super) use batch::{BatchEvents, deliver};
pub use due_limits::DueLimits;
pub use endpoint::{Endpoint, EndpointPatch, EndpointState, NewEndpoint, SecretText};
pub(super) use endpoints::EndpointCache;
pub use message::{
    AttemptRecord, ClaimLimit, ClaimedKey, ClaimedMessage, FailureLimits, FinishedAttempt,
    MessagePage, RetryProgress, RetryStep, StoredMessage,
};
pub use queries::DueEndpoint;
pub use queues::QueueKey;
pub(super) use webhook_batch::{WebhookBatch, WebhookEffects};
