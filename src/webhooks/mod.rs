//! Telling the software of a fleet what happened: signing a message, judging where it may go, and sending it.
//!
//! `secret` and `signature` make a message one that its receiver can check. `addresses` judges an address, `target` a
//! URL, and `lookup` what a name resolves to, also in the moment of connecting. `sender` makes one attempt: `tls` says
//! whom it believes, `answer` what it makes of what comes back, `trouble` why nothing did. When to try again, and what
//! becomes of an endpoint, is the store's and the `dispatcher`'s, which sends what the store says is due, and `counts` what became of all of them.

mod addresses;
mod admin;
mod answer;
mod counts;
mod dispatcher;
mod lookup;
mod secret;
mod sender;
mod signature;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod trouble;

// What the API needs of the store: it sees the rest of the gateway through here.
pub use crate::store::{
    Disabled, Endpoint, EndpointHealth, EndpointState, Message, MessagePage, MessageState,
    SecretText,
};
pub use addresses::is_allowed;
pub use admin::{EndpointError, EndpointRequest, EndpointUpdate, WebhookAdmin};
pub use answer::Outcome;
pub use counts::Counts;
pub use dispatcher::{Dispatcher, DispatcherOptions};
pub use lookup::Lookup;
pub use secret::{Secret, SecretError};
pub use sender::{Attempt, Delivery, Sender, SenderError, SenderOptions};
pub use signature::{ID, SIGNATURE, TIMESTAMP};
pub use target::{Rules, Target, TargetError, check};
