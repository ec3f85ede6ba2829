//! Who may use the API, and for what: keys, what they allow, and how often a wrong one may be tried.
//!
//! A key is a random text that its owner sends with each request. The gateway knows its hash only.

mod key;
mod keyring;
mod scope;
mod wrong_keys;

pub use key::{KeyHash, NewKey, generate, is_well_formed};
pub use keyring::{Keyring, KnownKey};
pub use scope::{Scope, Scopes};
pub(crate) use wrong_keys::WrongKeys;
