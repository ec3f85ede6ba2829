//! The outbox: what endpoints are to be told of, written in the transaction of the change itself.
//!
//! What one vehicle still has to tell one endpoint is a *lane*: it has the next sequence, and the time from when on its
//! next message may be sent. Whoever sends claims a lane, not a message, and finds the next message under the claim: so
//! messages of a vehicle arrive in order, however many instances send, and the search for what is due does not grow with
//! the table. A message that is sent and not noted as sent, because the sender died, is sent again under the same id.

mod batch;
mod changes;
mod claim;
mod endpoints;
mod heads;
mod intent;
mod lanes;
mod outbox;
#[cfg(test)]
mod plan_tests;
pub(super) mod purge;
mod queries;
mod settle;
mod verdicts;

pub(super) use batch::{Happened, WebhookEffects, write};
pub(super) use endpoints::KnownEndpoints;
pub(super) use intent::WebhookIntent;
pub use intent::{
    Attempt, Claimable, Disabled, Endpoint, EndpointChange, EndpointHealth, Message, MessageKey,
    MessageState, NewEndpoint, Outcome, Outgoing, Retried, RetryStep, SecretText, Settled,
};
pub use queries::{DueEndpoint, EndpointState, MessagePage};

/// The lane of messages that are about no vehicle.
pub(super) const NO_DEVICE: &str = "";
